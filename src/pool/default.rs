//! The pool of whoever names none.

use std::sync::OnceLock;

use super::CompioPool;
use crate::error::DefaultIsSet;

static DEFAULT: OnceLock<CompioPool> = OnceLock::new();

impl CompioPool {
    /// Makes this the pool of the functions and types that name none, such as those of
    #[cfg_attr(feature = "fs", doc = "[`fs`](crate::fs),")]
    #[cfg_attr(not(feature = "fs"), doc = "`fs`,")]
    /// once and for all. The program keeps it alive from then on; [`shutdown`](Self::shutdown) ends it.
    ///
    /// Nothing is ever started behind a program's back: without this they are errors.
    ///
    /// # Errors
    ///
    /// [`DefaultIsSet`] if there is one already.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = landbridge::CompioPool::builder().threads(1).build()?;
    /// pool.set_default()?;
    /// assert!(pool.set_default().is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_default(&self) -> Result<(), DefaultIsSet> {
        DEFAULT.set(self.clone()).map_err(|_| DefaultIsSet)
    }
}

#[cfg(all(any(feature = "fs", feature = "net"), unix))]
pub(crate) fn default_pool() -> Option<&'static CompioPool> {
    DEFAULT.get()
}
