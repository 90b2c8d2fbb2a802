/// Keeps what one side writes off the cache lines that the other side reads.
///
/// 128 bytes: lines are fetched in pairs on x86-64, and are that long on some AArch64.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

impl<T> std::ops::Deref for Padded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
