//! The runtimes that a channel's end may be on.

use std::{
    thread::{self, JoinHandle},
    time::Duration,
};

use compio::driver::{DriverType, ProactorBuilder};
use landbridge::channel::Wait;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    TokioMultiThread,
    TokioCurrentThread,
    CompioIoUring,
    CompioPolling,
    /// `futures::executor::block_on`: a thread with no runtime.
    PlainThread,
}

pub(crate) const ENDS: [End; 5] = [
    End::TokioMultiThread,
    End::TokioCurrentThread,
    End::CompioIoUring,
    End::CompioPolling,
    End::PlainThread,
];

pub(crate) const WAITS: [Wait; 3] = [
    Wait::Park,
    Wait::Adaptive,
    Wait::Spin(Duration::from_micros(10)),
];

impl End {
    /// Runs `future` as a task on a thread and runtime of its own.
    pub(crate) fn run<T: Send + 'static>(
        self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        thread::spawn(move || match self {
            Self::TokioMultiThread => {
                let tokio = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .build()
                    .unwrap();
                tokio.block_on(tokio.spawn(future)).unwrap()
            }
            Self::TokioCurrentThread => {
                let tokio = tokio::runtime::Builder::new_current_thread()
                    .build()
                    .unwrap();
                tokio.block_on(tokio.spawn(future)).unwrap()
            }
            Self::CompioIoUring => compio(DriverType::IoUring, future),
            Self::CompioPolling => compio(DriverType::Poll, future),
            Self::PlainThread => futures::executor::block_on(future),
        })
    }
}

fn compio<T: 'static>(driver: DriverType, future: impl Future<Output = T> + 'static) -> T {
    let mut proactor = ProactorBuilder::new();
    proactor.driver_type(driver);
    let compio = compio::runtime::Runtime::builder()
        .with_proactor(proactor.clone())
        .build()
        // Where io_uring is refused the other driver is tested twice.
        .unwrap_or_else(|_| {
            proactor.driver_type(DriverType::Poll);
            compio::runtime::Runtime::builder()
                .with_proactor(proactor)
                .build()
                .unwrap()
        });
    compio.block_on(async { compio::runtime::spawn(future).await.unwrap() })
}

pub(crate) fn every_pair(mut test: impl FnMut(End, End)) {
    for sender in ENDS {
        for receiver in ENDS {
            test(sender, receiver);
        }
    }
}
