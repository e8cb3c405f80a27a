//! Columns of rows that were read, by their names and as what they must be.

use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Int32Type};
use arrow_array::{Array, ArrayRef, Int32Array, PrimitiveArray, RecordBatch, StringArray};
use arrow_schema::ArrowError;

fn missing(name: &str) -> ArrowError {
    ArrowError::SchemaError(format!("the column {name} is missing, or of another type"))
}

/// A column of numbers or times.
///
/// # Errors
///
/// If it is missing, or of another type.
pub fn numbers<'a, T: ArrowPrimitiveType>(
    rows: &'a RecordBatch,
    name: &str,
) -> Result<&'a PrimitiveArray<T>, ArrowError> {
    rows.column_by_name(name).and_then(|column| column.as_primitive_opt()).ok_or_else(|| missing(name))
}

/// A column of texts: each is kept once.
#[derive(Clone, Copy)]
pub struct Texts<'a> {
    keys: &'a Int32Array,
    words: &'a StringArray,
}

impl<'a> Texts<'a> {
    /// A column; none if it is of another type.
    pub fn new(column: &'a dyn Array) -> Option<Self> {
        let column = column.as_dictionary_opt::<Int32Type>()?;
        Some(Self { keys: column.keys(), words: column.values().as_string_opt()? })
    }

    /// A column of that name.
    ///
    /// # Errors
    ///
    /// If it is missing, or of another type.
    pub fn of(rows: &'a RecordBatch, name: &str) -> Result<Self, ArrowError> {
        rows.column_by_name(name).map(ArrayRef::as_ref).and_then(Self::new).ok_or_else(|| missing(name))
    }

    /// The texts, each once; some may be those of no row.
    pub fn words(&self) -> Vec<Option<&'a str>> {
        self.words.iter().collect()
    }

    /// Where the text of a row is among the [`Texts::words`]; none if it has none.
    pub fn word(&self, row: usize) -> Option<usize> {
        let word = self.keys.is_valid(row).then(|| usize::try_from(self.keys.value(row)).ok()).flatten()?;
        (word < self.words.len() && self.words.is_valid(word)).then_some(word)
    }

    /// The text of a row.
    pub fn get(&self, row: usize) -> Option<&'a str> {
        self.word(row).map(|word| self.words.value(word))
    }
}
