//! The cursor of an open file.

use std::io;

use super::File;

#[derive(Debug, Default)]
pub(super) struct Cursor;

impl File {
    /// Waits for what the cursor has under way; what became of writes.
    pub(super) async fn settle(&self) -> io::Result<()> {
        Ok(())
    }
}
