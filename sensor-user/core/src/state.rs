//! What the thinking has in mind, as bytes: saved now and then beside the observations that follow, so that what was
//! decided can be decided anew.
//!
//! Saved is what was learned from observations, not what came from the settings: those are given anew, and may differ. So
//! a table that is loaded keeps its own bound, and forgets the least recently used of what is too much. The bytes say
//! nothing of their layout, and are good for the release that wrote them alone.

use std::hash::Hash;
use std::io;

use borsh::{BorshDeserialize, BorshSerialize};
use ndarray::Array2;

use crate::event::{Evidence, Value};
use crate::lru::Lru;

/// Names the thinking, by a hash of its sources: what it saves can be loaded by the same alone, and decides the same.
pub const THINKING: &str = env!("SEKISHO_THINKING");

/// What can be saved and loaded.
pub trait State {
    /// Appends it.
    ///
    /// # Errors
    ///
    /// If there is a number in it that is none.
    fn save(&self, out: &mut Vec<u8>) -> io::Result<()>;

    /// Takes it from the front of `from`. After an error it is as good as new, but not to be used.
    ///
    /// # Errors
    ///
    /// If the bytes end too early, or are none of this.
    fn load(&mut self, from: &mut &[u8]) -> io::Result<()>;
}

impl<T: BorshSerialize + BorshDeserialize> State for T {
    fn save(&self, out: &mut Vec<u8>) -> io::Result<()> {
        self.serialize(out)
    }

    fn load(&mut self, from: &mut &[u8]) -> io::Result<()> {
        *self = T::deserialize(from)?;
        Ok(())
    }
}

impl<K, V> State for Lru<K, V>
where
    K: BorshSerialize + BorshDeserialize + Hash + Eq,
    V: BorshSerialize + BorshDeserialize,
{
    fn save(&self, out: &mut Vec<u8>) -> io::Result<()> {
        (self.len() as u64).serialize(out)?;
        self.oldest_first().try_for_each(|entry| entry.serialize(out))
    }

    fn load(&mut self, from: &mut &[u8]) -> io::Result<()> {
        self.clear();
        for _ in 0..u64::deserialize(from)? {
            self.put(K::deserialize(from)?, V::deserialize(from)?);
        }
        Ok(())
    }
}

/// Implements [`State`] by fields, each of which must be named: those saved, and those that come from the settings; and
/// what is to be done once they are loaded. A type of one field without a name is saved as that.
macro_rules! state {
    ($type:ident of one) => {
        impl $crate::state::State for $type {
            fn save(&self, out: &mut Vec<u8>) -> std::io::Result<()> {
                $crate::state::State::save(&self.0, out)
            }

            fn load(&mut self, from: &mut &[u8]) -> std::io::Result<()> {
                $crate::state::State::load(&mut self.0, from)
            }
        }
    };
    ($type:ty { $($field:ident),* $(,)? } $(keeps { $($kept:ident),* })? $(then $done:ident)?) => {
        impl $crate::state::State for $type {
            fn save(&self, out: &mut Vec<u8>) -> std::io::Result<()> {
                let Self { $($field,)* $($($kept: _,)*)? } = self;
                $($crate::state::State::save($field, out)?;)*
                Ok(())
            }

            fn load(&mut self, from: &mut &[u8]) -> std::io::Result<()> {
                let Self { $($field,)* $($($kept: _,)*)? } = self;
                $($crate::state::State::load($field, from)?;)*
                $(self.$done();)?
                Ok(())
            }
        }
    };
}
pub(crate) use state;

/// Reads a word that was one of the program's own when it was saved. It is never given back: a process loads no more than
/// one state or two, whose words are few.
pub(crate) fn word<R: io::Read>(reader: &mut R) -> io::Result<&'static str> {
    Ok(String::deserialize_reader(reader)?.leak())
}

/// The same for the words evidence is named by.
pub(crate) fn evidence<R: io::Read>(reader: &mut R) -> io::Result<Evidence> {
    let named = Vec::<(String, Value)>::deserialize_reader(reader)?;
    Ok(named.into_iter().map(|(name, value)| (&*name.leak(), value)).collect())
}

/// Writes a table of numbers.
pub(crate) fn save_array<W: io::Write>(array: &Array2<f32>, writer: &mut W) -> io::Result<()> {
    let (rows, columns) = array.dim();
    (rows as u32, columns as u32).serialize(writer)?;
    array.iter().try_for_each(|number| number.serialize(writer))
}

/// Reads a table of numbers.
pub(crate) fn load_array<R: io::Read>(reader: &mut R) -> io::Result<Array2<f32>> {
    let (rows, columns) = <(u32, u32)>::deserialize_reader(reader)?;
    let numbers = (0..u64::from(rows) * u64::from(columns)).map(|_| f32::deserialize_reader(reader));
    let numbers = numbers.collect::<io::Result<Vec<f32>>>()?;
    Array2::from_shape_vec((rows as usize, columns as usize), numbers).map_err(io::Error::other)
}
