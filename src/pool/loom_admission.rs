//! Models of admission; see `docs/loom.md` for what each has been seen to catch.

use std::{future::poll_fn, task::Poll};

use loom::{
    future::block_on,
    model,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::admission::{Admission, Next, Offered, Refused, Ticket};

/// A bound of one, and a count of who has a place: never more than that.
struct Setup {
    admission: Admission<usize>,
    inside: AtomicUsize,
    /// Jobs that got their place.
    jobs: AtomicUsize,
}

impl Setup {
    /// The one place is taken.
    fn occupied() -> Arc<Self> {
        let setup = Self {
            admission: Admission::new(Some(1)),
            inside: AtomicUsize::new(1),
            jobs: AtomicUsize::new(0),
        };
        setup.admission.try_admit().unwrap();
        Arc::new(setup)
    }

    fn enter(&self) {
        assert_eq!(self.inside.fetch_add(1, Ordering::Relaxed), 0, "two inside");
    }

    fn leave(&self) {
        self.inside.fetch_sub(1, Ordering::Relaxed);
        self.pass_on(self.admission.release());
    }

    fn pass_on(&self, next: Next<usize>) {
        match next {
            Next::Nobody => {}
            Next::Caller(waker) => waker.wake(),
            Next::Job(_) => self.run_job(),
        }
    }

    fn run_job(&self) {
        self.enter();
        self.jobs.fetch_add(1, Ordering::Relaxed);
        self.leave();
    }

    /// As a `run` that waits for its place.
    fn call(&self) -> Result<(), Refused> {
        let mut ticket = Ticket::default();
        block_on(poll_fn(|cx| self.admission.poll(&mut ticket, cx)))?;
        self.enter();
        self.leave();
        Ok(())
    }
}

/// Whoever waits for a place gets one, and nobody gets one that is taken.
#[test]
fn a_waiting_caller_always_gets_a_place() {
    model(|| {
        let setup = Setup::occupied();
        let callers = [(), ()].map(|()| {
            let setup = setup.clone();
            thread::spawn(move || setup.call())
        });
        setup.leave();
        for caller in callers {
            assert_eq!(caller.join().unwrap(), Ok(()));
        }
        assert_eq!(setup.admission.try_admit(), Ok(()), "the place was lost");
    });
}

/// A caller that gives up, before or after its turn has come, does not keep the place from the next.
#[test]
fn a_caller_that_gives_up_strands_nobody() {
    model(|| {
        let setup = Setup::occupied();
        let waits = {
            let setup = setup.clone();
            thread::spawn(move || setup.call())
        };
        let gives_up = {
            let setup = setup.clone();
            thread::spawn(move || {
                let mut ticket = Ticket::default();
                let polled = block_on(poll_fn(|cx| {
                    Poll::Ready(setup.admission.poll(&mut ticket, cx))
                }));
                match polled {
                    Poll::Ready(place) => {
                        place.unwrap();
                        setup.enter();
                        setup.leave();
                    }
                    Poll::Pending => setup.pass_on(setup.admission.give_up(&mut ticket)),
                }
            })
        };
        setup.leave();
        gives_up.join().unwrap();
        assert_eq!(waits.join().unwrap(), Ok(()));
        assert_eq!(setup.admission.try_admit(), Ok(()), "the place was lost");
    });
}

/// A job that is offered as the last place becomes free is run by one side or the other.
#[test]
fn an_offered_job_is_never_stranded() {
    model(|| {
        let setup = Setup::occupied();
        let caller = {
            let setup = setup.clone();
            thread::spawn(move || match setup.admission.offer(7) {
                Offered::Admitted(_) => setup.run_job(),
                Offered::Waits => {}
                Offered::Closed(_) => unreachable!("nobody closes"),
            })
        };
        setup.leave();
        caller.join().unwrap();
        assert_eq!(setup.jobs.load(Ordering::Relaxed), 1);
        assert_eq!(setup.admission.try_admit(), Ok(()), "the place was lost");
    });
}

/// A close reaches every caller that waits; a job that was taken before it stays taken.
#[test]
fn a_close_strands_nobody() {
    model(|| {
        let setup = Setup::occupied();
        let caller = {
            let setup = setup.clone();
            thread::spawn(move || setup.call())
        };
        let offers = {
            let setup = setup.clone();
            thread::spawn(move || match setup.admission.offer(7) {
                Offered::Admitted(_) => unreachable!("the place is taken"),
                Offered::Waits => true,
                Offered::Closed(_) => false,
            })
        };
        for waker in setup.admission.close() {
            waker.wake();
        }
        let late = setup.admission.offer(8);
        assert!(matches!(late, Offered::Closed(8)), "taken after the close");
        assert_eq!(caller.join().unwrap(), Err(Refused::Closed));
        let waits = offers.join().unwrap();
        setup.leave();
        assert_eq!(setup.jobs.load(Ordering::Relaxed), usize::from(waits));
        assert_eq!(setup.admission.try_admit(), Err(Refused::Closed));
    });
}

/// A job that is cancelled while it waits is taken out, or has been given its place: once.
#[test]
fn a_cancelled_job_is_somewhere_once() {
    model(|| {
        let setup = Setup::occupied();
        assert!(matches!(setup.admission.offer(7), Offered::Waits));
        let aborts = {
            let setup = setup.clone();
            thread::spawn(move || setup.admission.take_jobs(|job| *job == 7).len())
        };
        setup.leave();
        let taken = aborts.join().unwrap();
        assert_eq!(taken + setup.jobs.load(Ordering::Relaxed), 1);
        assert_eq!(setup.admission.try_admit(), Ok(()), "the place was lost");
    });
}
