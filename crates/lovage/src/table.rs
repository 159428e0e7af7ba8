//! Columns of text, aligned.

use std::fmt;

use crate::output::HEADING;

/// A table with a heading. The last column is as long as its text.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    headings: [&'static str; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub(crate) fn new(headings: [&'static str; N]) -> Self {
        Self {
            headings,
            rows: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, row: [String; N]) {
        self.rows.push(row);
    }

    fn widths(&self) -> [usize; N] {
        let mut widths = self.headings.map(|heading| heading.chars().count());
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        widths
    }
}

/// Without a line break at its end.
impl<const N: usize> fmt::Display for Table<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        write!(f, "{HEADING}")?;
        write_row(f, &self.headings, &widths)?;
        write!(f, "{HEADING:#}")?;
        for row in &self.rows {
            writeln!(f)?;
            write_row(f, row, &widths)?;
        }
        Ok(())
    }
}

fn write_row(
    f: &mut fmt::Formatter<'_>,
    cells: &[impl AsRef<str>],
    widths: &[usize],
) -> fmt::Result {
    // Nothing follows the last cell that holds text, so nothing is filled up behind it.
    let end = cells
        .iter()
        .rposition(|cell| !cell.as_ref().is_empty())
        .unwrap_or(0);
    for (index, (cell, width)) in cells.iter().zip(widths).take(end + 1).enumerate() {
        let cell = cell.as_ref();
        if index == end {
            f.write_str(cell)?
        } else {
            write!(f, "{cell:width$}  ")?
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn columns_are_aligned_by_characters() {
        let mut table = Table::new(["NAME", "DOC"]);
        table.push(["é".to_owned(), "short".to_owned()]);
        table.push(["longer".to_owned(), String::new()]);
        let plain = anstream::adapter::strip_str(&table.to_string()).to_string();
        assert_eq!(plain, "NAME    DOC\né       short\nlonger");
    }
}
