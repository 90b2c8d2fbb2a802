//! Lets the kernel refuse system calls, for a thread and the threads that it starts, or for the process.

#![allow(unsafe_code, reason = "system calls that a sandbox would make")]

use std::thread;

use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter};

/// Where a filter finds the system call's number, and its first argument.
const NUMBER: u32 = 0;
const ARGUMENT: u32 = 16;

/// Calls `body` on a thread to which the system call `refused` says `errno`.
pub fn without(refused: libc::c_long, errno: i32, body: impl FnOnce() + Send) {
    filtered(no_call(refused, errno), body);
}

/// The system call `refused` says `errno` to every thread of this process, for good.
pub fn refuse_everywhere(refused: libc::c_long, errno: i32) {
    install(no_call(refused, errno), libc::SECCOMP_FILTER_FLAG_TSYNC);
}

/// Calls `body` on a thread that cannot start another.
pub fn without_threads(body: impl FnOnce() + Send) {
    filtered(no_threads(), body);
}

/// No thread of this process can start another, for good.
pub fn refuse_threads_everywhere() {
    install(no_threads(), libc::SECCOMP_FILTER_FLAG_TSYNC);
}

fn no_call(refused: libc::c_long, errno: i32) -> Vec<sock_filter> {
    vec![
        load(NUMBER),
        skip_unless(BPF_JEQ, refused as u32, 1),
        refuse(errno),
        allow(),
    ]
}

/// Threads only: a process may still be forked (LeakSanitizer does, at the end).
fn no_threads() -> Vec<sock_filter> {
    vec![
        load(NUMBER),
        // Its flags are behind a pointer, which a filter cannot follow; the C library then does
        // with the older call.
        skip_unless(BPF_JEQ, libc::SYS_clone3 as u32, 1),
        refuse(libc::ENOSYS),
        skip_unless(BPF_JEQ, libc::SYS_clone as u32, 3),
        load(ARGUMENT),
        skip_unless(BPF_JSET, libc::CLONE_THREAD as u32, 1),
        refuse(libc::EAGAIN),
        allow(),
    ]
}

fn filtered(program: Vec<sock_filter>, body: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let run = scope.spawn(move || {
            install(program, 0);
            body();
        });
        if let Err(payload) = run.join() {
            std::panic::resume_unwind(payload);
        }
    });
}

fn load(offset: u32) -> sock_filter {
    instruction(BPF_LD | BPF_W | BPF_ABS, 0, offset)
}

fn skip_unless(test: u32, value: u32, instructions: u8) -> sock_filter {
    instruction(BPF_JMP | test | BPF_K, instructions, value)
}

fn refuse(errno: i32) -> sock_filter {
    instruction(BPF_RET | BPF_K, 0, libc::SECCOMP_RET_ERRNO | errno as u32)
}

fn allow() -> sock_filter {
    instruction(BPF_RET | BPF_K, 0, libc::SECCOMP_RET_ALLOW)
}

fn instruction(code: u32, jf: u8, k: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: 0,
        jf,
        k,
    }
}

fn install(mut program: Vec<sock_filter>, flags: libc::c_ulong) {
    let program = libc::sock_fprog {
        len: program.len().try_into().unwrap(),
        filter: program.as_mut_ptr(),
    };
    // SAFETY: plain numbers; only takes rights away.
    let done = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the program is well-formed and alive.
    let done = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}
