//! What a worker will run next.
//!
//! A room of its own, small as it is: classes of work with shares of the worker's time are to come.

use std::{cell::RefCell, collections::VecDeque};

use super::job::Job;

/// First in, first out.
#[derive(Debug, Default)]
pub(crate) struct RunQueue {
    jobs: RefCell<VecDeque<Job>>,
}

impl RunQueue {
    pub(crate) fn push(&self, job: Job) {
        self.jobs.borrow_mut().push_back(job);
    }

    pub(crate) fn pop(&self) -> Option<Job> {
        self.jobs.borrow_mut().pop_front()
    }

    pub(crate) fn len(&self) -> usize {
        self.jobs.borrow().len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.jobs.borrow().is_empty()
    }
}
