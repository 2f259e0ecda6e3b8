// SPDX-License-Identifier: MIT OR Apache-2.0
//! Dot plots: a row for each job, and in it a dot with its range for each series, over a logarithmic
//! axis, on which half and double are equally far from 1.

use anyhow::{anyhow, Result};
use plotters::coord::combinators::{BindKeyPoints, IntoLogRange};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::stats::Spread;

/// Pixels.
const WIDTH: u32 = 900;
const ROW: u32 = 26;
const LABELS: u32 = 190;
const AROUND: u32 = 110;

/// Told apart also by people who do not see red and green as different.
const COLOURS: [RGBColor; 2] = [RGBColor(0x77, 0x77, 0x77), RGBColor(0x00, 0x5f, 0xb8)];
const LINE: RGBColor = RGBColor(0xd5, 0x5e, 0x00);
const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);

/// A row of a plot.
#[derive(Clone, Debug)]
pub struct Row {
    /// What stands at its left.
    pub label: String,
    /// Its dots: index of the series and the values.
    pub marks: Vec<(usize, Spread)>,
}

/// A plot.
#[derive(Clone, Debug)]
pub struct Plot<'a> {
    /// What stands above and under the axis.
    pub title: &'a str,
    /// Names of the series: `ours` alone, or another one before it.
    pub series: &'a [&'a str],
    /// The rows, top to bottom.
    pub rows: Vec<Row>,
    /// Where to draw vertical lines: aims and equality.
    pub lines: &'a [f64],
    /// How numbers at the axis are written.
    pub show: fn(f64) -> String,
}

impl Plot<'_> {
    /// The plot as SVG to be put into a page.
    ///
    /// # Errors
    ///
    /// When the drawing library refuses something.
    pub fn svg(&self) -> Result<String> {
        let mut text = String::new();
        let height = AROUND + ROW * self.rows.len() as u32;
        let area = SVGBackend::with_string(&mut text, (WIDTH, height)).into_drawing_area();
        self.draw(&area)
            .map_err(|e| anyhow!("cannot draw \"{}\": {e}", self.title))?;
        drop(area);
        // Inside a page the name space is known; without it the page holds no address at all.
        Ok(text.replace(" xmlns=\"http://www.w3.org/2000/svg\"", ""))
    }

    fn draw<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, plotters::coord::Shift>,
    ) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
        area.fill(&WHITE)?;
        let (low, high) = self.range();
        let rows = self.rows.len() as f64;
        let centre = |row: usize| rows - row as f64 - 0.5;
        let mut chart = ChartBuilder::on(area)
            .caption(self.title, ("sans-serif", 17))
            .margin_right(20)
            .x_label_area_size(30)
            .y_label_area_size(LABELS)
            .build_cartesian_2d(
                (low..high).log_scale().with_key_points(ticks(low, high)),
                0.0..rows,
            )?;
        let show = self.show;
        chart
            .configure_mesh()
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .x_labels(20)
            .y_labels(0)
            .x_label_formatter(&|value| show(*value))
            .label_style(("sans-serif", 12))
            .draw()?;
        let right = TextStyle::from(("sans-serif", 12)).pos(Pos::new(HPos::Right, VPos::Center));
        for (row, content) in self.rows.iter().enumerate() {
            let (x, y) = chart.backend_coord(&(low, centre(row)));
            area.draw(&Text::new(
                content.label.as_str(),
                (x - 8, y),
                right.clone(),
            ))?;
        }
        for line in self.lines.iter().filter(|l| (low..=high).contains(*l)) {
            chart.draw_series([PathElement::new(
                vec![(*line, 0.0), (*line, rows)],
                LINE.stroke_width(1),
            )])?;
        }
        for (at, name) in self.series.iter().enumerate() {
            let colour = self.colour(at);
            let apart = 0.32 * (at as f64 - (self.series.len() as f64 - 1.0) / 2.0);
            let marks = self.rows.iter().enumerate().flat_map(|(row, content)| {
                let y = centre(row) - apart;
                let own = content.marks.iter().filter(move |mark| mark.0 == at);
                own.map(move |(_, spread)| (y, *spread))
            });
            let clamp = |value: f64| value.clamp(low, high);
            chart.draw_series(marks.clone().map(|(y, s)| {
                PathElement::new(
                    vec![(clamp(s.min), y), (clamp(s.max), y)],
                    colour.stroke_width(2),
                )
            }))?;
            chart.draw_series(
                marks.map(|(y, s)| Circle::new((clamp(s.median), y), 4, colour.filled())),
            )?;
            // The legend stands beside the title, where it covers nothing.
            if self.series.len() > 1 {
                let x = WIDTH as i32 - 80 * (self.series.len() - at) as i32;
                area.draw(&Circle::new((x, 12), 4, colour.filled()))?;
                let left =
                    TextStyle::from(("sans-serif", 12)).pos(Pos::new(HPos::Left, VPos::Center));
                area.draw(&Text::new(*name, (x + 9, 12), left))?;
            }
        }
        area.present()
    }

    /// Ours has the same colour everywhere.
    fn colour(&self, series: usize) -> RGBColor {
        let last = self.series.len() - 1;
        COLOURS[usize::from(series == last)]
    }

    /// From a little under the least to a little over the greatest value.
    fn range(&self) -> (f64, f64) {
        let values = self
            .rows
            .iter()
            .flat_map(|row| &row.marks)
            .flat_map(|(_, s)| [s.min, s.max])
            .chain(self.lines.iter().copied())
            .filter(|value| *value > 0.0);
        let spread = Spread::of(values);
        let (low, high) = spread.map_or((0.5, 2.0), |s| (s.min, s.max));
        (low / 1.08, high * 1.08)
    }
}

/// Round numbers in a range, about a dozen at most.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    const FINE: [f64; 10] = [1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 9.0];
    const NORMAL: [f64; 3] = [1.0, 2.0, 5.0];
    const COARSE: [f64; 1] = [1.0];
    let decades = (high / low).log10();
    let steps: &[f64] = match decades {
        d if d < 1.1 => &FINE,
        d if d < 4.0 => &NORMAL,
        _ => &COARSE,
    };
    let (from, to) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    (from..=to)
        .flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)))
        .filter(|tick| (low..=high).contains(tick))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(label: &str, marks: &[(usize, f64)]) -> Row {
        Row {
            label: label.into(),
            marks: marks
                .iter()
                .filter_map(|(at, v)| Some((*at, Spread::of([v * 0.9, *v, v * 1.1])?)))
                .collect(),
        }
    }

    #[test]
    fn a_plot_shows_every_row_and_dot_and_no_address() {
        let plot = Plot {
            title: "requests per second",
            series: &["stock", "ours"],
            rows: vec![
                row("randread 4k qd1 x1", &[(0, 800.0), (1, 900.0)]),
                row("read 1M qd8 x1", &[(0, 380.0)]),
                row("write 1M qd8 x1", &[]),
            ],
            lines: &[],
            show: |v| format!("{v:.0}"),
        };
        let svg = plot.svg().unwrap();
        for row in &plot.rows {
            assert!(svg.contains(&row.label), "{svg}");
        }
        // Three dots and two in the legend.
        assert_eq!(svg.matches("<circle").count(), 5);
        assert!(!svg.contains("http"));
    }

    #[test]
    fn a_plot_of_nothing_is_a_plot() {
        let plot = Plot {
            title: "nothing",
            series: &["ours"],
            rows: Vec::new(),
            lines: &[1.0],
            show: |v| format!("{v}"),
        };
        assert!(plot.svg().unwrap().contains("<svg"));
    }

    #[test]
    fn nought_does_not_upset_the_logarithm() {
        let plot = Plot {
            title: "notifications",
            series: &["ours"],
            rows: vec![Row {
                label: "job".into(),
                marks: vec![(0, Spread::of([0.0, 0.5, 1.0]).unwrap())],
            }],
            lines: &[],
            show: |v| format!("{v}"),
        };
        assert!(!plot.svg().unwrap().contains("NaN"));
    }

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks(0.85, 1.6), [0.9, 1.0, 1.1, 1.25, 1.5]);
        assert_eq!(ticks(90.0, 15_000.0).len(), 7);
    }
}
