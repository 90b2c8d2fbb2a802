use std::io::Write;
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
}
impl Plan {
    pub(crate) fn full() -> Self {
        Self { rounds: 5 }
    }
}
pub(crate) async fn run(_: &Plan, _: &mut impl Write) -> std::io::Result<()> {
    Ok(())
}
