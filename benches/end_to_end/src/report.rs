//! Tables for people, in Markdown.

use crate::bench::{Outcome, Row, Table};
use crate::sample::Quantity;
use std::fmt::Write;

/// Renders everything.
pub fn render(outcome: &Outcome) -> String {
    let machine = &outcome.machine;
    let mut text = String::new();
    let versions: Vec<_> =
        machine.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let lines = [
        format!("`cargo run --release -- {}`", arguments.join(" ")),
        format!("{}, {} cores of {}", machine.date, machine.cores, machine.cpu),
        format!("Linux {}, client runtime: {}", machine.kernel, machine.runtime),
        versions.join(", "),
        format!(
            "{} rounds of {} s per client; × = median of the ratios within rounds",
            outcome.rounds, outcome.turn
        ),
    ];
    for line in lines {
        push(&mut text, format_args!("{line}\n"));
    }
    if !machine.release {
        push(&mut text, format_args!("\nDEBUG BUILD: these numbers mean nothing\n"));
    }
    for table in &outcome.tables {
        render_table(&mut text, table);
    }
    text
}

fn render_table(text: &mut String, table: &Table) {
    let [base, double] = table.kind.base();
    push(
        text,
        format_args!(
            "\n## {}, 100 bytes, {} in flight\n\nHeaders of every request: {}\n\n",
            table.kind.title(),
            table.in_flight,
            table.headers.join(", "),
        ),
    );
    push(
        text,
        format_args!(
            "| client | calls/s | × {base} | quartiles | CPU µs/call | × | quartiles | over {} µs | p50 µs | × | p99 µs | × |\n",
            table.kind.floor(),
        ),
    );
    push(text, format_args!("|---|{}\n", "--:|".repeat(11)));
    for row in &table.rows {
        render_row(text, row);
    }
    for (row, cpu) in table.rows.iter().filter_map(|row| Some((row, row.between_cpu?))) {
        push(
            text,
            format_args!("\n{}: {cpu:.1} µs/call of CPU in its own process on top\n", row.name),
        );
    }
    let verdict = if table.control_held { "held" } else { "DID NOT HOLD" };
    push(
        text,
        format_args!(
            "\nControl ({double} within 2 % of {base}): {verdict}, attempt {}\n",
            table.attempts
        ),
    );
}

fn render_row(text: &mut String, row: &Row) {
    let spread = |quantity: &Quantity| {
        let [low, high] = quantity.quartiles;
        format!("{low:.3}–{high:.3}")
    };
    push(
        text,
        format_args!(
            "| {} | {:.0} | {:.3} | {} | {:.2} | {:.3} | {} | {:+.2} | {:.1} | {:.3} | {:.1} | {:.3} |\n",
            row.name,
            row.rate.median,
            row.rate.ratio,
            spread(&row.rate),
            row.cpu.median,
            row.cpu.ratio,
            spread(&row.cpu),
            row.cpu_over_floor,
            row.p50.median,
            row.p50.ratio,
            row.p99.median,
            row.p99.ratio,
        ),
    );
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string can't fail.
    let _ = text.write_fmt(arguments);
}
