//! What was measured, as a table and a plot.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::run::Ran;

/// One measurement.
pub struct Line {
    what: &'static str,
    who: String,
    count: usize,
    took: Duration,
    ratio: Option<f64>,
    cpu: Option<Duration>,
    server: Option<Duration>,
    peak: Option<u64>,
}

impl Line {
    pub fn floor(what: &'static str, count: usize, hands: usize, took: Duration) -> Self {
        Self { what, who: format!("bare, {hands} connections"), count, took, ratio: None, cpu: None, server: None, peak: None }
    }

    pub fn ours(what: &'static str, count: usize, hands: usize, took: Duration) -> Self {
        let who = if hands == 1 { "labctl".to_owned() } else { format!("labctl, {hands} connections") };
        Self { what, who, count, took, ratio: None, cpu: None, server: None, peak: None }
    }

    /// By somebody of that name.
    pub fn by_name(what: &'static str, count: usize, who: &str, took: Duration) -> Self {
        Self { what, who: who.to_owned(), count, took, ratio: None, cpu: None, server: None, peak: None }
    }

    /// Compared with a floor's rate.
    pub fn against(self, floor: f64) -> Self {
        Self { ratio: Some(self.rate() / floor), ..self }
    }

    /// With so much processor time.
    pub fn burning(self, cpu: Duration) -> Self {
        Self { cpu: Some(cpu), ..self }
    }

    /// With so much processor time of the server's.
    pub fn serving(self, server: Duration) -> Self {
        Self { server: Some(server), ..self }
    }

    /// With so much memory at most, in bytes.
    pub fn with_peak(self, peak: u64) -> Self {
        Self { peak: Some(peak), ..self }
    }

    /// By this process.
    pub fn by(self, ran: &Ran) -> Self {
        self.burning(ran.cpu).with_peak(ran.peak)
    }

    fn rate(&self) -> f64 {
        self.count as f64 / self.took.as_secs_f64()
    }

    fn cells(&self) -> [String; 8] {
        let cpu = |cpu: Duration| format!("{:.2} ms", cpu.as_secs_f64() * 1000.0 / self.count as f64);
        [
            self.what.to_owned(),
            self.who.clone(),
            format!("{:.3} s", self.took.as_secs_f64()),
            format!("{:.0}/s", self.rate()),
            self.ratio.map_or_else(String::new, |r| format!("{r:.2}")),
            self.cpu.map_or_else(String::new, cpu),
            self.server.map_or_else(String::new, cpu),
            self.peak.map_or_else(String::new, |bytes| format!("{} MB", bytes / 1_048_576)),
        ]
    }
}

/// All of them.
pub struct Report {
    server: String,
    lines: Vec<Line>,
}

impl Report {
    pub fn new(server: String) -> Self {
        Self { server, lines: Vec::new() }
    }

    /// Adds one, and says its rate.
    pub fn line(&mut self, line: Line) -> f64 {
        println!("{}", line.cells().join(" · "));
        let rate = line.rate();
        self.lines.push(line);
        rate
    }

    /// Writes `migrations.md` and `migrations.svg`.
    pub fn write(&self, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("migrations.md"), self.markdown()).unwrap();
        fs::write(folder.join("migrations.svg"), self.svg()).unwrap();
        println!("written to {}", folder.display());
    }

    fn markdown(&self) -> String {
        let profile = if cfg!(debug_assertions) { "an unoptimised build" } else { "a release build" };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split_whitespace().next().unwrap_or("unknown").to_owned();
        let mut text = format!(
            "# Migrations, measured\n\nWritten by `cargo bench --bench migrations`: PostgreSQL {}, {cores} cores, {profile} of labctl, `shared_buffers` 1 GB; client and server \
             share the machine, whose load was {load} at the end. What `bare` means, and what limits the rest, is in \
             [Migrations](../migrations.md#how-fast).\n\n| what | by | time | rate | of the floor | client CPU per tenant | server CPU per tenant | peak memory |\n|---|---|--:|--:|--:|--:|--:|--:|\n",
            self.server
        );
        for line in &self.lines {
            writeln!(text, "| {} |", line.cells().join(" | ")).unwrap();
        }
        text.push_str("\n![Schemas a second](migrations.svg)\n");
        text
    }

    /// Bars: schemas a second, where a floor was measured.
    fn svg(&self) -> String {
        let bars: Vec<&Line> = self.lines.iter().filter(|l| l.ratio.is_some() || l.who.starts_with("bare")).collect();
        let (left, row, width) = (400.0, 26.0, 480.0);
        let height = 44.0 + row * bars.len() as f64;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"970\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
             <rect width=\"970\" height=\"{height}\" fill=\"white\"/>\n<text x=\"12\" y=\"22\" font-weight=\"bold\">Schemas a second; each group has its own scale</text>\n"
        );
        for (n, line) in bars.iter().enumerate() {
            let group = |l: &&&Line| l.what.split(' ').next() == line.what.split(' ').next();
            let most = bars.iter().filter(group).map(|l| l.rate()).fold(1.0, f64::max);
            let (y, long) = (38.0 + row * n as f64, width * line.rate() / most);
            let colour = if line.ratio.is_some() { "#2b6cb0" } else { "#a0aec0" };
            writeln!(
                svg,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}: {}</text><rect x=\"{left}\" y=\"{y}\" width=\"{long:.0}\" height=\"18\" fill=\"{colour}\"/>\
                 <text x=\"{:.0}\" y=\"{}\">{:.0}</text>",
                left - 8.0,
                y + 14.0,
                line.what,
                line.who,
                left + long + 6.0,
                y + 14.0,
                line.rate()
            )
            .unwrap();
        }
        svg.push_str("</svg>\n");
        svg
    }
}
