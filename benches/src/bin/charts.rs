//! Draws the charts and the tables of `docs/performance.md` from what `overhead --json` has printed.
//!
//! ```sh
//! cargo run --release -p landbridge-benches --bin overhead -- --json > figures.jsonl
//! cargo run --release -p landbridge-benches --bin charts -- docs/charts < figures.jsonl
//! ```
//!
//! On the machine that was measured: its name goes into the tables.

use std::{env, error::Error, fmt::Write as _, fs, io, path::PathBuf};

use landbridge_benches::machine;
use serde_json::Value;

fn main() -> Result<(), Box<dyn Error>> {
    let Some(dir) = env::args_os().nth(1).map(PathBuf::from) else {
        return Err("usage: charts DIR < figures.jsonl".into());
    };
    let figures: Vec<Figure> = io::stdin()
        .lines()
        .map(|line| Figure::parse(&line?))
        .collect::<Result<_, _>>()?;
    fs::create_dir_all(&dir)?;
    let mut tables = format!(
        "# Figures\n\nMade by `charts` from a run of `overhead --json`; [the performance page](../performance.md) says how \
         to read them.\n\n{}\n",
        machine().replace('\n', "  \n")
    );
    for (group, figures) in groups(&figures) {
        fs::write(dir.join(format!("{group}.svg")), chart(group, figures))?;
        write!(tables, "\n## {group}\n\n{}", table(figures))?;
    }
    fs::write(dir.join("figures.md"), tables)?;
    Ok(())
}

/// A line of `overhead --json`.
#[derive(Debug)]
struct Figure {
    group: String,
    row: String,
    ours: f64,
    peer: f64,
    peer_name: String,
    unit: String,
    ratio: f64,
    goal: Option<f64>,
    met: Option<bool>,
}

impl Figure {
    fn parse(line: &str) -> Result<Self, Box<dyn Error>> {
        let value: Value = serde_json::from_str(line)?;
        let text = |key: &str| {
            let text = value[key].as_str().map(str::to_owned);
            text.ok_or_else(|| format!("no {key} in {line}"))
        };
        // A ratio to nothing is null.
        let number = |key: &str| value[key].as_f64().unwrap_or(f64::NAN);
        let name = text("name")?;
        let (group, row) = name.split_once('.').ok_or("a row has a group")?;
        Ok(Self {
            group: group.to_owned(),
            row: row.to_owned(),
            ours: number("ours"),
            peer: number("peer"),
            peer_name: text("peer_name")?,
            unit: text("unit")?,
            ratio: number("ratio"),
            goal: value["goal"].as_f64(),
            met: value["met"].as_bool(),
        })
    }
}

fn groups(figures: &[Figure]) -> impl Iterator<Item = (&str, &[Figure])> {
    let groups = figures.chunk_by(|one, next| one.group == next.group);
    groups.map(|figures| (figures[0].group.as_str(), figures))
}

fn table(figures: &[Figure]) -> String {
    let mut table = String::from(
        "| row | ratio | ours | peer | unit | peer is | goal | met |\n|---|---|---|---|---|---|---|---|\n",
    );
    for it in figures {
        let goal = it.goal.map_or(String::new(), |goal| format!("{goal}"));
        let met = it.met.map_or("", |met| if met { "yes" } else { "**no**" });
        let (row, unit, peer) = (&it.row, &it.unit, &it.peer_name);
        let [ratio, ours, theirs] = [it.ratio, it.ours, it.peer].map(short);
        let _ = writeln!(
            table,
            "| `{row}` | {ratio} | {ours} | {theirs} | {unit} | {peer} | {goal} | {met} |"
        );
    }
    table
}

/// Three digits that count.
fn short(value: f64) -> String {
    match value.abs() {
        _ if value.is_nan() => "-".to_owned(),
        0.0 => "0".to_owned(),
        size => {
            let digits = 2 - size.log10().floor() as i32;
            format!("{value:.*}", digits.clamp(0, 4) as usize)
        }
    }
}

const WIDTH: f64 = 960.0;
const NAMES: f64 = 190.0;
const PLOT: f64 = 330.0;
const ROW: f64 = 26.0;
const TOP: f64 = 58.0;
/// What the plot shows; a bar that would be longer ends there.
const LEAST: f64 = 0.003;
const MOST: f64 = 4.0;

/// Of a ratio, whose logarithm is drawn: twice the cost is as far from the peer's line as half of it.
fn x(ratio: f64) -> f64 {
    let part = (ratio.clamp(LEAST, MOST) / LEAST).ln() / (MOST / LEAST).ln();
    NAMES + PLOT * part
}

/// Bars from the peer's line, to the left where ours is cheaper.
///
/// The colours are told apart without seeing red and green, and are readable on white and on black.
fn chart(group: &str, figures: &[Figure]) -> String {
    let shown = figures.iter().filter(|it| it.ratio.is_finite());
    let bottom = TOP + ROW * shown.clone().count() as f64;
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">
<style>
  text {{ fill: #24292f }} .soft {{ fill: #57606a }} .axis {{ stroke: #8c959f }} .goal {{ fill: #24292f }}
  .less {{ fill: #1f77b4 }} .more {{ fill: #d95f02 }}
  @media (prefers-color-scheme: dark) {{
    text {{ fill: #e6edf3 }} .soft {{ fill: #9198a1 }} .axis {{ stroke: #656c76 }} .goal {{ fill: #e6edf3 }}
    .less {{ fill: #58a6ff }} .more {{ fill: #f0883e }}
  }}
</style>
<text x="8" y="20" font-size="15">{group}: what it costs beside the peer</text>
<text class="soft" x="8" y="38">ours / peer, to the left of 1 is cheaper; the mark is the goal</text>
"##,
        height = bottom + 16.0,
    );
    for tick in [0.01, 0.03, 0.1, 0.3, 1.0, 3.0] {
        let (x, dashes) = (x(tick), if tick == 1.0 { "none" } else { "2 4" });
        let _ = writeln!(
            svg,
            r#"<line class="axis" x1="{x:.1}" x2="{x:.1}" y1="{TOP}" y2="{bottom}" stroke-dasharray="{dashes}"/>
<text class="soft" x="{x:.1}" y="{:.0}" text-anchor="middle">{tick}</text>"#,
            TOP - 5.0,
        );
    }
    for (number, it) in shown.enumerate() {
        let y = TOP + ROW * number as f64;
        let (from, to) = (x(it.ratio.min(1.0)), x(it.ratio.max(1.0)));
        let class = if it.ratio <= 1.0 { "less" } else { "more" };
        let [ratio, ours, peer] = [it.ratio, it.ours, it.peer].map(short);
        let _ = writeln!(
            svg,
            r#"<text x="{NAMES_END}" y="{text:.1}" text-anchor="end">{row}</text>
<rect class="{class}" x="{from:.1}" y="{bar:.1}" width="{width:.1}" height="{height:.1}" rx="2"/>
<text x="{right}" y="{text:.1}">{ratio}<tspan class="soft">  {ours} / {peer} {unit}; {name}</tspan></text>"#,
            NAMES_END = NAMES - 8.0,
            text = y + ROW / 2.0 + 4.0,
            row = escaped(&it.row),
            bar = y + 5.0,
            width = (to - from).max(1.5),
            height = ROW - 10.0,
            right = NAMES + PLOT + 12.0,
            unit = escaped(&it.unit),
            name = escaped(&shortened(&it.peer_name)),
        );
        if let Some(goal) = it.goal {
            let _ = writeln!(
                svg,
                r#"<rect class="goal" x="{:.1}" y="{:.1}" width="2" height="{:.1}"/>"#,
                x(goal) - 1.0,
                y + 2.0,
                ROW - 4.0,
            );
        }
    }
    svg + "</svg>\n"
}

/// There is no more room beside the plot; the table has it all.
fn shortened(name: &str) -> String {
    match name.char_indices().nth(32) {
        Some((end, _)) => format!("{}..", &name[..end]),
        None => name.to_owned(),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"name":"io.echo<64>","ours":1.5,"peer":3.0,"peer_name":"a & b","unit":"us/op","ratio":0.5,"goal":0.75,"met":true}"#;

    /// A chart is looked at by those who do not run the measurements.
    #[test]
    fn a_figure_is_in_the_chart_and_in_the_table() {
        let figures = [Figure::parse(LINE).unwrap()];
        let chart = chart("io", &figures);
        assert!(chart.contains("echo&lt;64&gt;"), "{chart}");
        assert!(chart.contains("1.50 / 3.00 us/op; a &amp; b"), "{chart}");
        assert!(chart.contains(r#"<rect class="less""#), "{chart}");
        let table = table(&figures);
        assert!(table.contains("| 0.500 | 1.50 | 3.00 | us/op |"), "{table}");
    }

    /// Half the cost is as far from the peer's line as twice the cost.
    #[test]
    fn the_scale_is_that_of_ratios() {
        let (half, one, twice) = (x(0.5), x(1.0), x(2.0));
        assert!(((one - half) - (twice - one)).abs() < 1e-9);
    }

    /// There is no point in more digits than the machine repeats.
    #[test]
    fn three_digits_are_shown() {
        let shown = [0.0034, 0.02849, 1.036, 12.34, 6123.0].map(short);
        assert_eq!(shown, ["0.0034", "0.0285", "1.04", "12.3", "6123"]);
    }
}
