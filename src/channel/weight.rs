use std::{rc::Rc, sync::Arc};

/// What a message weighs in a channel that is bounded by weight; see
/// [`Builder::bytes`](super::Builder::bytes).
///
/// Bytes and text weigh their length in bytes: what is in them, not what has been allocated for them,
/// nor the handle itself. A reference, [`Box`], [`Rc`] or [`Arc`] weighs what it leads to, as if it were
/// the only one. An `Option` or a `Result` weighs what is in it, and nothing for `None` and `Err`.
///
/// A type of one's own says what it keeps alive, in bytes or in any other unit that its channel is
/// bounded by. It is asked once, when the message is sent. A message of weight 0 takes as much room as
/// one of weight 1, so that the number of messages is bounded too.
///
/// # Examples
///
/// ```
/// use landbridge::channel::{self, Weight};
///
/// struct Upload {
///     name: String,
///     part: Vec<u8>,
/// }
///
/// impl Weight for Upload {
///     fn weight(&self) -> usize {
///         size_of::<Self>() + self.name.len() + self.part.len()
///     }
/// }
///
/// let (tx, _rx) = channel::builder().bytes(1 << 20).mpsc::<Upload>();
/// assert!(tx.try_send(Upload { name: "a".into(), part: vec![0; 600_000] }).is_ok());
/// assert!(tx.try_send(Upload { name: "b".into(), part: vec![0; 600_000] }).is_err());
/// ```
pub trait Weight {
    /// In bytes, or in whatever unit the channel is bounded by.
    fn weight(&self) -> usize;
}

impl Weight for [u8] {
    fn weight(&self) -> usize {
        self.len()
    }
}

impl<const N: usize> Weight for [u8; N] {
    fn weight(&self) -> usize {
        N
    }
}

impl Weight for str {
    fn weight(&self) -> usize {
        self.len()
    }
}

impl Weight for Vec<u8> {
    fn weight(&self) -> usize {
        self.len()
    }
}

impl Weight for String {
    fn weight(&self) -> usize {
        self.len()
    }
}

#[cfg(feature = "shim")]
impl Weight for bytes::Bytes {
    fn weight(&self) -> usize {
        self.len()
    }
}

#[cfg(feature = "shim")]
impl Weight for bytes::BytesMut {
    fn weight(&self) -> usize {
        self.len()
    }
}

impl<T: Weight + ?Sized> Weight for &T {
    fn weight(&self) -> usize {
        (**self).weight()
    }
}

impl<T: Weight + ?Sized> Weight for Box<T> {
    fn weight(&self) -> usize {
        (**self).weight()
    }
}

impl<T: Weight + ?Sized> Weight for Rc<T> {
    fn weight(&self) -> usize {
        (**self).weight()
    }
}

impl<T: Weight + ?Sized> Weight for Arc<T> {
    fn weight(&self) -> usize {
        (**self).weight()
    }
}

impl<T: Weight> Weight for Option<T> {
    fn weight(&self) -> usize {
        self.as_ref().map_or(0, Weight::weight)
    }
}

impl<T: Weight, E> Weight for Result<T, E> {
    fn weight(&self) -> usize {
        self.as_ref().map_or(0, Weight::weight)
    }
}
