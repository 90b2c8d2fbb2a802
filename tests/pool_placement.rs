//! Workers stay on the CPUs they were given, and a CPU that cannot be had is an error.

#![cfg(target_os = "linux")]

mod support;

use std::{io, thread};

use landbridge::{CompioPool, error::BuildError, pool::Placement};
use rustix::{
    process::{Pid, getpid},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};
use support::{
    assert_lives, block_on, descriptor_count, eventually, in_child, threads_named, watchdog,
};

/// The CPUs of a thread's affinity mask; the caller's own for `None`.
fn mask(thread: Option<Pid>) -> Vec<usize> {
    let set = sched_getaffinity(thread).unwrap();
    (0..CpuSet::MAX_CPU)
        .filter(|cpu| set.is_set(*cpu))
        .collect()
}

/// Leaves a thread only these CPUs.
fn restrict(thread: Option<Pid>, cpus: &[usize]) {
    let mut set = CpuSet::new();
    cpus.iter().for_each(|cpu| set.set(*cpu));
    sched_setaffinity(thread, &set).unwrap();
}

/// Each worker's index, by its thread's name, with its mask.
fn masks(pool: &CompioPool) -> Vec<(usize, Vec<usize>)> {
    let workers = pool.metrics().workers.len();
    let mut seen = std::collections::BTreeMap::new();
    while seen.len() < workers {
        let (name, mask) = block_on(pool.run(async || {
            let name = thread::current().name().unwrap().to_owned();
            (name, mask(None))
        }))
        .unwrap();
        let index = name.rsplit('-').next().unwrap().parse::<usize>().unwrap();
        seen.insert(index, mask);
    }
    seen.into_iter().collect()
}

fn pinned(cores: impl IntoIterator<Item = usize>) -> Vec<(usize, Vec<usize>)> {
    cores
        .into_iter()
        .map(|core| vec![core])
        .enumerate()
        .collect()
}

/// Who pins wants one worker to a CPU, and no two on one while another CPU has none.
#[test]
fn pinned_workers_take_the_cpus_in_turn() {
    let _watchdog = watchdog();
    let allowed = mask(None);
    for workers in [1, allowed.len(), 2 * allowed.len() + 1] {
        let pool = CompioPool::builder()
            .threads(workers)
            .placement(Placement::Pinned)
            .build()
            .unwrap();
        let expected = pinned(allowed.iter().copied().cycle().take(workers));
        assert_eq!(masks(&pool), expected);
    }
}

/// An operator who has set CPUs aside names them; the order is which worker gets which.
#[test]
fn workers_on_chosen_cores_go_round_the_list() {
    let _watchdog = watchdog();
    let mut cores = mask(None);
    cores.reverse();
    let workers = cores.len() + 1;
    let pool = CompioPool::builder()
        .threads(workers)
        .placement(Placement::Cores(cores.clone()))
        .build()
        .unwrap();
    let expected = pinned(cores.into_iter().cycle().take(workers));
    assert_eq!(masks(&pool), expected);
}

/// The default must not take CPUs away from anybody.
#[test]
fn floating_workers_may_run_wherever_their_maker_may() {
    let _watchdog = watchdog();
    let pool = CompioPool::builder().threads(2).build().unwrap();
    for (_, worker) in masks(&pool) {
        assert_eq!(worker, mask(None));
    }
}

/// A worker that is bound must not bind the thread that made it.
#[test]
fn the_caller_of_build_keeps_its_own_mask() {
    let _watchdog = watchdog();
    let before = mask(None);
    let pool = CompioPool::builder()
        .threads(1)
        .placement(Placement::Pinned)
        .build()
        .unwrap();
    assert_lives(&pool);
    assert_eq!(mask(None), before);
}

/// An empty list is a configuration that somebody forgot to fill in, not a wish to float.
#[test]
fn no_cores_at_all_is_an_error() {
    let _watchdog = watchdog();
    let error = CompioPool::builder()
        .placement(Placement::Cores(Vec::new()))
        .build()
        .unwrap_err();
    assert!(matches!(error, BuildError::NoCores), "{error:?}");
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidInput);
}

/// The error names the core, since the list may be long; and it comes before anything is started.
#[test]
fn a_core_that_does_not_exist_is_an_error_that_names_it_and_starts_no_thread() {
    in_child(
        "a_core_that_does_not_exist_is_an_error_that_names_it_and_starts_no_thread",
        || {
            let descriptors = descriptor_count();
            let there = mask(None)[0];
            for absent in [CpuSet::MAX_CPU - 1, CpuSet::MAX_CPU, usize::MAX] {
                let error = CompioPool::builder()
                    .threads(1)
                    .placement(Placement::Cores(vec![there, absent]))
                    // Called before the first thread is started, if it comes to that.
                    .proactor(|_| panic!("nothing is set up"))
                    .build()
                    .unwrap_err();
                let BuildError::CoreUnavailable { core } = error else {
                    panic!("{error:?}");
                };
                assert_eq!(core, absent);
                assert!(error.to_string().contains(&absent.to_string()), "{error}");
            }
            assert_eq!(descriptor_count(), descriptors);
        },
    );
}

/// A container's CPU set, or `taskset`: the other CPUs are somebody else's.
#[test]
fn a_core_outside_the_process_mask_is_an_error_and_pinned_stays_inside() {
    in_child(
        "a_core_outside_the_process_mask_is_an_error_and_pinned_stays_inside",
        || {
            let allowed = mask(None);
            let (&last, rest) = allowed.split_last().unwrap();
            // The whole process: its main thread, and this one where it is another.
            restrict(Some(getpid()), &[last]);
            restrict(None, &[last]);
            let pool = CompioPool::builder()
                .threads(2)
                .placement(Placement::Pinned)
                .build()
                .unwrap();
            assert_eq!(masks(&pool), pinned([last, last]));
            for &outside in rest {
                let error = CompioPool::builder()
                    .threads(1)
                    .placement(Placement::Cores(vec![outside]))
                    .build()
                    .unwrap_err();
                assert!(
                    matches!(error, BuildError::CoreUnavailable { core } if core == outside),
                    "{error:?}"
                );
            }
        },
    );
}

/// A sharded server builds its pool from a thread that is pinned itself: the workers must not all land
/// on that thread's CPU.
#[test]
fn a_pool_built_from_a_pinned_thread_still_has_all_cpus() {
    let _watchdog = watchdog();
    let allowed = mask(None);
    let all = allowed.clone();
    let seen = thread::spawn(move || {
        restrict(None, &all[..1]);
        let pool = CompioPool::builder()
            .threads(all.len())
            .placement(Placement::Pinned)
            .build()
            .unwrap();
        masks(&pool)
    });
    assert_eq!(seen.join().unwrap(), pinned(allowed));
}

/// A limited process must not be given a worker for every CPU of the machine. (The mask is the part of
/// a limit that a test can set; a cgroup's quota is read by the same call of std's. On a machine of up
/// to four CPUs the default is one worker either way.)
#[test]
fn the_default_number_of_workers_follows_the_process_mask() {
    in_child(
        "the_default_number_of_workers_follows_the_process_mask",
        || {
            let first = mask(None)[0];
            restrict(Some(getpid()), &[first]);
            restrict(None, &[first]);
            let pool = CompioPool::builder()
                .thread_name("limited")
                .build()
                .unwrap();
            assert_eq!(pool.metrics().workers.len(), 1);
            assert_lives(&pool);
            drop(pool);
            eventually("the worker ends", || threads_named("limited") == 0);
        },
    );
}
