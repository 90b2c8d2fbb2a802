//! The checks one after the other, and what a request costs.

use std::{
    io::{self, Write},
    net::SocketAddr,
    time::Duration,
};

use examples_support::{Stopwatch, cpu_of_threads, micros};
use tokio::{runtime::Runtime, task::JoinSet};

use crate::{
    Error, Subject,
    backend::Backend,
    checks,
    fleet::{Fleet, echoing, finish, round_trip},
    within,
};

/// Bytes of a request, and of its answer.
const REQUEST: [u8; 256] = [b'r'; 256];

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Connections at the same time.
    pub clients: usize,
    /// On each of them.
    pub requests: usize,
}

/// Checks what a proxy promises, and measures it; the last line that it writes is `ok: ...`. The proxy's threads are
/// those whose names begin with "proxy".
///
/// # Errors
///
/// What went wrong.
///
/// # Panics
///
/// If a promise is not kept, or something hangs.
pub async fn demonstrate<P: Subject>(
    plan: Plan,
    out: &mut (impl Write + Send),
) -> Result<(), Error> {
    let mut checked = 0;
    macro_rules! each {
        ($subject:ty: $($check:ident,)*) => {
            $(
                within(checks::$check::<$subject>()).await;
                writeln!(out, "{}", stringify!($check).replace('_', " "))?;
                checked += 1;
            )*
        };
    }
    crate::each_check!(each, P);

    // The backends and the clients have a thread of their own, so that it is told apart.
    let load = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("load")
        .enable_all()
        .build()?;
    let measured = within(measure::<P>(&load, plan, out)).await;
    load.shutdown_background();
    let connections = measured?;
    writeln!(
        out,
        "ok: {checked} promises kept, {connections} connections under load and none of them lost"
    )?;
    Ok(())
}

/// How many connections that took.
async fn measure<P: Subject>(
    load: &Runtime,
    plan: Plan,
    out: &mut (impl Write + Send),
) -> Result<usize, Error> {
    let backends = load.spawn(async {
        let backends = (0..3).map(|_| Backend::start());
        backends.collect::<std::io::Result<Vec<_>>>()
    });
    let mut fleet = Fleet::<P>::with(backends.await??, &[3, 2, 1], |settings| {
        settings.interval_ms = 100;
        settings.lines = 64;
        settings.delay_ms = 50;
    })
    .await?;
    let addr = fleet.proxy.addr();

    let (watch, cpu) = (Stopwatch::start(), cpu_of_threads("proxy"));
    let requests = u32::try_from(plan.clients * plan.requests)?;
    load.spawn(clients(addr, plan)).await??;
    let took = watch.stop().wall;
    write!(
        out,
        "{} clients, {requests} requests: {:.0} a second",
        plan.clients,
        f64::from(requests) / took.as_secs_f64()
    )?;
    let cpu = cpu.and_then(|before| Some(cpu_of_threads("proxy")?.saturating_sub(before)));
    match cpu.filter(|&cpu| cpu > Duration::ZERO) {
        Some(cpu) => writeln!(
            out,
            ", {:.1} us of CPU each in the proxy",
            micros(cpu / requests)
        )?,
        None => writeln!(out)?,
    }

    // Connections come and go, and meanwhile the file is changed and read again.
    // (No more at a time than fit into the queue of the proxy's socket: who does not asks again later, and on a busy
    // machine more than once.)
    const EACH: usize = 10;
    let each_a_connection = load.spawn(each(plan.clients, move || async move {
        for _ in 0..EACH {
            finish(echoing(addr).await?).await?;
        }
        Ok(())
    }));
    let file = fleet.file();
    let first = fleet.backends[0].addr();
    for weight in 1..=10 {
        fleet.write(|settings| settings.backends = vec![(first, weight)])?;
        fleet.proxy.reload(&file)?;
        tokio::task::yield_now().await;
    }
    each_a_connection.await??;
    let (stopped, log, _backends) = fleet.stop().await;
    let coming = plan.clients * EACH;
    let connections = plan.clients + coming;
    let clean = log.iter().filter(|line| line.contains("end=clean")).count();
    if (stopped.cut_off, clean, log.len()) != (0, connections, connections) {
        return Err(format!("{stopped:?}, {clean} of {} lines are clean", log.len()).into());
    }
    writeln!(out, "{coming} more connections, 10 reloads meanwhile")?;
    Ok(connections)
}

async fn clients(addr: SocketAddr, plan: Plan) -> io::Result<()> {
    each(plan.clients, move || async move {
        let mut client = echoing(addr).await?;
        for _ in 0..plan.requests {
            round_trip(&mut client, &REQUEST).await?;
        }
        finish(client).await
    })
    .await
}

/// So many clients, each of them a task.
async fn each<F>(clients: usize, client: impl Fn() -> F + Send + 'static) -> io::Result<()>
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let mut all = JoinSet::new();
    for _ in 0..clients {
        all.spawn(client());
    }
    while let Some(ended) = all.join_next().await {
        ended??;
    }
    Ok(())
}
