//! What the thinking has in mind, as bytes: saved now and then beside the observations that follow, so that what was
//! decided can be decided anew.
//!
//! Saved is what was learned from observations, not what came from the settings: those are given anew, and may differ. So
//! a table that is loaded keeps its own bound, and forgets the least recently used of what is too much. The bytes are in
//! parts, each with a hash of how it is laid out: another build reads those that it lays out in the same way.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::io;

use borsh::schema::{BorshSchemaContainer, Declaration, Definition};
use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};
use ndarray::Array2;
use sha2::{Digest, Sha256};

use crate::event::{Evidence, Value};
use crate::lru::Lru;

/// Names the thinking, by a hash of its sources: the same decides the same about what it saved.
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

    /// Adds how its bytes are laid out: the names and types of all they are made of.
    fn layout(&self, hash: &mut Sha256);
}

impl<T: BorshSerialize + BorshDeserialize + BorshSchema> State for T {
    fn save(&self, out: &mut Vec<u8>) -> io::Result<()> {
        self.serialize(out)
    }

    fn load(&mut self, from: &mut &[u8]) -> io::Result<()> {
        *self = T::deserialize(from)?;
        Ok(())
    }

    fn layout(&self, hash: &mut Sha256) {
        hash_type::<T>(hash);
    }
}

fn hash_type<T: BorshSchema>(hash: &mut Sha256) {
    // Writing into a vector does not fail.
    hash.update(borsh::to_vec(&BorshSchemaContainer::for_type::<T>()).unwrap_or_default());
}

impl<K, V> State for Lru<K, V>
where
    K: BorshSerialize + BorshDeserialize + BorshSchema + Hash + Eq,
    V: BorshSerialize + BorshDeserialize + BorshSchema,
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

    fn layout(&self, hash: &mut Sha256) {
        hash.update("Lru");
        hash_type::<(K, V)>(hash);
    }
}

/// Parts of something by name, each of which is saved with its layout.
pub(crate) type Parts<'a> = Vec<(&'static str, &'a dyn State)>;
/// The same, to be loaded.
pub(crate) type PartsMut<'a> = Vec<(&'static str, &'a mut dyn State)>;

/// What stands before the bytes of a part.
#[derive(BorshSerialize, BorshDeserialize)]
struct Head {
    name: String,
    layout: [u8; 16],
    bytes: u64,
}

impl Head {
    fn of(name: &str, part: &dyn State) -> Self {
        let mut hash = Sha256::new();
        part.layout(&mut hash);
        let mut layout = [0; 16];
        layout.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
        Self { name: name.to_owned(), layout, bytes: 0 }
    }

    /// Whether bytes with this before them are of that part.
    fn is_of(&self, name: &str, part: &dyn State) -> bool {
        self.name == name && self.layout == Self::of(name, part).layout
    }
}

/// Appends parts.
///
/// # Errors
///
/// As [`State::save`].
pub(crate) fn save_parts(parts: &Parts<'_>, out: &mut Vec<u8>) -> io::Result<()> {
    (parts.len() as u32).serialize(out)?;
    for (name, part) in parts {
        Head::of(name, *part).serialize(out)?;
        let begin = out.len();
        part.save(out)?;
        let bytes = ((out.len() - begin) as u64).to_le_bytes();
        // The last of the head, which was not known yet.
        if let Some(last) = out.get_mut(begin - bytes.len()..begin) {
            last.copy_from_slice(&bytes);
        }
    }
    Ok(())
}

/// Takes what another build may have saved from the front of `from`: the parts that it laid out as they are here. The others
/// are left as they are; their names are returned.
///
/// # Errors
///
/// If the bytes end too early, or are none of this.
pub(crate) fn load_known_parts(mut parts: PartsMut<'_>, from: &mut &[u8]) -> io::Result<Vec<&'static str>> {
    for _ in 0..u32::deserialize(from)? {
        let head = Head::deserialize(from)?;
        let bytes = usize::try_from(head.bytes).ok().and_then(|bytes| from.split_off(..bytes));
        let Some(mut bytes) = bytes else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        if let Some(at) = parts.iter().position(|(name, part)| head.is_of(name, *part)) {
            parts.swap_remove(at).1.load(&mut bytes)?;
            if !bytes.is_empty() {
                return Err(io::Error::other(format!("there are more bytes of {} than it has", head.name)));
            }
        }
    }
    Ok(parts.into_iter().map(|(name, _)| name).collect())
}

/// Takes parts from the front of `from`: all of them.
///
/// # Errors
///
/// If the bytes end too early, or are none of this, or of another layout.
pub(crate) fn load_parts(parts: PartsMut<'_>, from: &mut &[u8]) -> io::Result<()> {
    let unknown = load_known_parts(parts, from)?;
    if unknown.is_empty() {
        Ok(())
    } else {
        Err(io::Error::other(format!(
            "there is nothing of {}, or laid out in another way",
            unknown.join(", ")
        )))
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

            fn layout(&self, hash: &mut sha2::Sha256) {
                $crate::state::State::layout(&self.0, hash);
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

            fn layout(&self, hash: &mut sha2::Sha256) {
                $(
                    sha2::Digest::update(hash, stringify!($field));
                    $crate::state::State::layout(&self.$field, hash);
                )*
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
    let named = Named::deserialize_reader(reader)?;
    Ok(named.into_iter().map(|(name, value)| (&*name.leak(), value)).collect())
}

/// Writes a table of numbers.
pub(crate) fn save_array<W: io::Write>(array: &Array2<f32>, writer: &mut W) -> io::Result<()> {
    let (rows, columns) = array.dim();
    (rows as u32, columns as u32).serialize(writer)?;
    array.iter().try_for_each(|number| number.serialize(writer))
}

/// Reads a table of so many rows and columns.
pub(crate) fn load_array<R: io::Read, const ROWS: usize, const COLUMNS: usize>(
    reader: &mut R,
) -> io::Result<Array2<f32>> {
    let (rows, columns) = <(u32, u32)>::deserialize_reader(reader)?;
    if (rows as usize, columns as usize) != (ROWS, COLUMNS) {
        return Err(io::Error::other(format!(
            "{rows} times {columns} numbers where {ROWS} times {COLUMNS} are"
        )));
    }
    let numbers = (0..ROWS * COLUMNS).map(|_| f32::deserialize_reader(reader));
    let numbers = numbers.collect::<io::Result<Vec<f32>>>()?;
    Array2::from_shape_vec((ROWS, COLUMNS), numbers).map_err(io::Error::other)
}

/// What evidence is laid out as.
pub(crate) type Named = Vec<(String, Value)>;

/// The layout of what is written in another way than its type is, by a type that is written so.
pub(crate) fn declaration_as<T: BorshSchema>() -> Declaration {
    T::declaration()
}

/// The same for what that is made of.
pub(crate) fn definitions_as<T: BorshSchema>(definitions: &mut BTreeMap<Declaration, Definition>) {
    T::add_definitions_recursively(definitions);
}
