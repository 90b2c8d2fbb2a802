//! From what a user calls an address to the addresses that there are.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs as _},
    sync::Arc,
};

use compio::{
    buf::{BufResult, IntoInner},
    driver::op::Asyncify,
    runtime::submit,
};
use sealed::{Lookup, Wanted};

use crate::{
    pool::{CompioHandle, Target},
    spawn::RunBlocking,
};

/// What can be made addresses of: as `tokio::net::ToSocketAddrs`.
///
/// Implemented for addresses, pairs of a host and a port, `"host:port"`, lists of addresses, and references
/// to them. Names are looked up on a thread that may block; see [`Net`](super::Net).
pub trait ToSocketAddrs: Lookup {}

impl<T: Lookup + ?Sized> ToSocketAddrs for T {}

/// At least one, or an error.
pub(super) async fn lookup(target: &Target, wanted: Wanted) -> io::Result<Vec<SocketAddr>> {
    let found = match wanted {
        Wanted::One(one) => vec![one],
        Wanted::These(these) => these,
        Wanted::Name { host, port } => resolve(target, host, port).await?,
        Wanted::Nonsense(why) => {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
    };
    if found.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "could not resolve to any address",
        ));
    }
    Ok(found)
}

async fn resolve(target: &Target, host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    let lookup = move || (host.as_str(), port).to_socket_addrs();
    let found = match target {
        Target::Pool(pool) => RunBlocking::new(Arc::clone(pool.blocking()), lookup).await??,
        Target::Worker(worker) => {
            let lookup = Asyncify::new(move || BufResult(Ok(0), lookup()));
            let there = || async { submit(lookup).await.1.into_inner() };
            CompioHandle::new(Arc::clone(worker)).run(there).await??
        }
    };
    Ok(found.collect())
}

pub(super) mod sealed {
    use std::net::SocketAddr;

    pub trait Lookup {
        /// What is to be looked up, without looking.
        fn wanted(&self) -> Wanted;
    }

    #[derive(Debug)]
    pub enum Wanted {
        One(SocketAddr),
        These(Vec<SocketAddr>),
        Name { host: String, port: u16 },
        Nonsense(&'static str),
    }
}

macro_rules! known {
    ($($type:ty),* $(,)?) => {$(
        impl Lookup for $type {
            fn wanted(&self) -> Wanted {
                Wanted::One(SocketAddr::from(*self))
            }
        }
    )*};
}

known!(
    SocketAddr,
    SocketAddrV4,
    SocketAddrV6,
    (IpAddr, u16),
    (Ipv4Addr, u16),
    (Ipv6Addr, u16),
);

impl Lookup for [SocketAddr] {
    fn wanted(&self) -> Wanted {
        Wanted::These(self.to_vec())
    }
}

impl<const N: usize> Lookup for [SocketAddr; N] {
    fn wanted(&self) -> Wanted {
        self[..].wanted()
    }
}

impl Lookup for Vec<SocketAddr> {
    fn wanted(&self) -> Wanted {
        self[..].wanted()
    }
}

impl Lookup for (&str, u16) {
    fn wanted(&self) -> Wanted {
        let (host, port) = *self;
        match host.parse::<IpAddr>() {
            Ok(ip) => (ip, port).wanted(),
            Err(_) => Wanted::Name {
                host: host.to_owned(),
                port,
            },
        }
    }
}

impl Lookup for (String, u16) {
    fn wanted(&self) -> Wanted {
        (self.0.as_str(), self.1).wanted()
    }
}

impl Lookup for str {
    fn wanted(&self) -> Wanted {
        if let Ok(address) = self.parse::<SocketAddr>() {
            return address.wanted();
        }
        let Some((host, port)) = self.rsplit_once(':') else {
            return Wanted::Nonsense("invalid socket address");
        };
        match port.parse::<u16>() {
            Ok(port) => (host, port).wanted(),
            Err(_) => Wanted::Nonsense("invalid port value"),
        }
    }
}

impl Lookup for String {
    fn wanted(&self) -> Wanted {
        self.as_str().wanted()
    }
}

impl<T: Lookup + ?Sized> Lookup for &T {
    fn wanted(&self) -> Wanted {
        (**self).wanted()
    }
}
