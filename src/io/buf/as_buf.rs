//! Bytes behind `AsRef` and `AsMut`.

use std::mem::MaybeUninit;

use compio_buf::{IntoInner, IoBuf, IoBufMut, SetLen};

/// Any `AsRef<[u8]>` as an owned buffer to write from.
///
/// `as_ref` is called for each look at the bytes. If it gives other bytes each time, other bytes
/// are written; nothing worse.
///
/// # Examples
///
/// ```
/// use compio_buf::IoBuf;
/// use landbridge::io::buf::AsBuf;
///
/// let name = std::borrow::Cow::Borrowed("a type from elsewhere");
/// # struct Line(std::borrow::Cow<'static, str>);
/// # impl AsRef<[u8]> for Line { fn as_ref(&self) -> &[u8] { self.0.as_bytes() } }
/// # let name = Line(name);
/// let buffer = AsBuf::new(name);
/// assert_eq!(buffer.as_init(), b"a type from elsewhere");
/// let name = buffer.into_inner();
/// # assert_eq!(name.as_ref().len(), 21);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AsBuf<T>(T);

impl<T> AsBuf<T> {
    /// Wraps `bytes`.
    #[must_use]
    pub const fn new(bytes: T) -> Self {
        Self(bytes)
    }

    /// What was wrapped.
    #[must_use]
    pub const fn get_ref(&self) -> &T {
        &self.0
    }

    /// What was wrapped.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T: AsRef<[u8]> + 'static> IoBuf for AsBuf<T> {
    fn as_init(&self) -> &[u8] {
        self.0.as_ref()
    }
}

impl<T> IntoInner for AsBuf<T> {
    type Inner = T;

    fn into_inner(self) -> T {
        self.0
    }
}

/// Any `AsMut<[u8]>` as an owned buffer to read into.
///
/// All of its bytes are initialised and stay so: its length is its capacity, and a read says by its
/// count how many of the first bytes it replaced. `AsRef` is needed beside `AsMut` because Compio
/// also looks at a buffer that it shares.
///
/// # Panics
///
/// When Compio looks at it, if `as_ref` and `as_mut` give anything but the number of bytes that
/// they gave first. Compio builds slices from the pointer of one and the length of the other.
///
/// # Examples
///
/// ```
/// use compio_io::AsyncRead;
/// use landbridge::io::buf::AsBufMut;
///
/// # futures::executor::block_on(async {
/// let page: Box<[u8; 16]> = Box::new([0; 16]);
/// # struct Page(Box<[u8; 16]>);
/// # impl AsRef<[u8]> for Page { fn as_ref(&self) -> &[u8] { &self.0[..] } }
/// # impl AsMut<[u8]> for Page { fn as_mut(&mut self) -> &mut [u8] { &mut self.0[..] } }
/// # let page = Page(page);
/// let (count, buffer) = (&b"over the bridge"[..]).read(AsBufMut::new(page)).await.unwrap();
/// assert_eq!(&buffer.into_inner().as_ref()[..count], b"over the bridge");
/// # });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AsBufMut<T> {
    bytes: T,
    length: usize,
}

impl<T: AsRef<[u8]>> AsBufMut<T> {
    /// Wraps `bytes`.
    #[must_use]
    pub fn new(bytes: T) -> Self {
        let length = bytes.as_ref().len();
        Self { bytes, length }
    }
}

impl<T> AsBufMut<T> {
    /// What was wrapped.
    #[must_use]
    pub const fn get_ref(&self) -> &T {
        &self.bytes
    }

    /// What was wrapped.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.bytes
    }
}

impl<T: AsRef<[u8]> + 'static> IoBuf for AsBufMut<T> {
    fn as_init(&self) -> &[u8] {
        let bytes = self.bytes.as_ref();
        assert_eq!(bytes.len(), self.length, "`as_ref` changed its length");
        bytes
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]> + 'static> IoBufMut for AsBufMut<T> {
    fn as_uninit(&mut self) -> &mut [MaybeUninit<u8>] {
        let bytes = self.bytes.as_mut();
        assert_eq!(
            bytes.len(),
            self.length,
            "`as_mut` and `as_ref` differ in length"
        );
        #[expect(
            unsafe_code,
            reason = "a view of initialised bytes as perhaps uninitialised"
        )]
        // SAFETY: same place, length and layout. That nobody writes uninitialised bytes through it
        // is for the caller of `as_uninit`, as with Compio's own `IoBufMut for [u8]`.
        unsafe {
            &mut *(std::ptr::from_mut(bytes) as *mut [MaybeUninit<u8>])
        }
    }
}

#[expect(unsafe_code, reason = "the trait's method is unsafe to call")]
impl<T: AsRef<[u8]>> SetLen for AsBufMut<T> {
    /// All bytes count, always.
    unsafe fn set_len(&mut self, len: usize) {
        debug_assert!(len <= self.length);
    }
}

impl<T> IntoInner for AsBufMut<T> {
    type Inner = T;

    fn into_inner(self) -> T {
        self.bytes
    }
}
