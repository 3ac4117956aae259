//! Recorded traces, read with the names of their sources.

use anyhow::{Context, Result, bail};
use mesh_policies::forecast::{HISTORY, Issue, Known, LEADS};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One region, by the hour.
#[derive(Clone)]
pub(crate) struct Region {
    pub(crate) name: String,
    /// g CO2/kWh of each hour, the first at 00:00 UTC.
    pub(crate) values: Vec<f64>,
    /// Renewable share of each hour in percent, where the trace tells.
    pub(crate) renewable: Vec<f64>,
    /// The forecasts given for it, one a day; none in most traces. Hours count from the trace's first.
    pub(crate) issues: Vec<Issue>,
}

impl Region {
    /// What is known at `now`, the newest value `lag` hours old.
    pub(crate) fn known(&self, now: usize, lag: usize) -> Known<'_> {
        let newest = now - lag;
        let values = &self.values[(newest + 1).saturating_sub(HISTORY)..=newest];
        Known { newest: newest as u64, values, issues: &self.issues }
    }

    /// Hours at which work may arrive: with 30 days of history behind them and four days of trace ahead, and where
    /// forecasts are given, while they are.
    pub(crate) fn span(&self) -> Range<usize> {
        // A day more than the history, so that the oldest lag has all of it too.
        let first = self.issues.first().map_or(HISTORY + 24, |issue| issue.hour as usize);
        let end = self.issues.last().map_or(self.values.len(), |issue| issue.hour as usize + 24);
        first..end.min(self.values.len()).saturating_sub(2 * LEADS)
    }
}

/// Rows of a CSV file without its head; where a line is wrong, it says which.
pub(crate) fn rows(file: &Path) -> Result<Vec<Vec<String>>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let mut lines = text.lines();
    let width = lines.next().map_or(0, |head| head.split(',').count());
    let mut rows = Vec::new();
    for (number, line) in lines.enumerate().filter(|(_, line)| !line.is_empty()) {
        let row: Vec<String> = line.split(',').map(|cell| cell.trim().to_string()).collect();
        if row.len() < width {
            bail!("{}:{} has {} columns, its head {width}", file.display(), number + 2, row.len());
        }
        rows.push(row);
    }
    if rows.is_empty() {
        bail!("{} holds no rows", file.display());
    }
    Ok(rows)
}

/// Column `index` of the rows as numbers that an intensity can be.
pub(crate) fn column(file: &Path, rows: &[Vec<String>], index: usize) -> Result<Vec<f64>> {
    let number = |(line, row): (usize, &Vec<String>)| {
        let cell = row.get(index).map_or("", String::as_str);
        match cell.parse::<f64>() {
            Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
            _ => bail!("{}:{}: {cell:?} is no amount", file.display(), line + 2),
        }
    };
    rows.iter().enumerate().map(number).collect()
}

/// Names of the files of a folder that end so, sorted.
pub(crate) fn files(folder: &Path, suffix: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in
        std::fs::read_dir(folder).with_context(|| format!("{} cannot be listed", folder.display()))?
    {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(suffix)) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn stem(file: &Path) -> String {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.split('_').next().unwrap_or_default().to_string()
}

/// `carboncast/`: intensity of two years beside half a year of real forecasts.
pub(crate) fn carboncast(folder: &Path) -> Result<Vec<Region>> {
    let mut regions = Vec::new();
    for file in files(folder, ".csv")?.iter().filter(|file| file.to_string_lossy().contains("_forecast96h_"))
    {
        let name = stem(file);
        let history = files(folder, ".csv")?
            .into_iter()
            .find(|other| stem(other) == name && other.to_string_lossy().contains("_lifecycle_emissions_"));
        let Some(history) = history else {
            bail!("{} has forecasts of {name}, and no {name}_lifecycle_emissions_*.csv", folder.display())
        };
        let table = rows(&history)?;
        let values = column(&history, &table, 2)?;
        let head = std::fs::read_to_string(&history)?.lines().next().unwrap_or_default().to_string();
        let sources: Vec<&str> = head.split(',').collect();
        let mut renewable = vec![0.0; values.len()];
        let mut total = vec![0.0; values.len()];
        for (index, source) in sources.iter().enumerate().skip(3) {
            let green = ["biomass", "geothermal", "hydro", "solar", "wind"].contains(source);
            for (hour, mwh) in column(&history, &table, index)?.into_iter().enumerate() {
                total[hour] += mwh;
                renewable[hour] += if green { mwh } else { 0.0 };
            }
        }
        let renewable =
            renewable.iter().zip(&total).map(|(part, all)| 100.0 * part / all.max(1e-9)).collect();
        let issued = rows(file)?;
        // By position: some labels are wrong, the values are right.
        let date = issued[0].get(1).cloned().unwrap_or_default();
        let Some(first) = hours_between(&table[0][1], &date) else {
            bail!("{}: {date:?} is no hour after {:?}", file.display(), table[0][1])
        };
        let forecast = column(file, &issued, 3)?;
        let actual = column(file, &issued, 2)?;
        if forecast.len() % LEADS != 0 {
            bail!("{} does not hold whole issues of {LEADS} hours", file.display());
        }
        for (row, value) in actual.iter().enumerate() {
            let hour = first + row / LEADS * 24 + row % LEADS;
            if values.get(hour).is_none_or(|known| (known - value).abs() > 0.011) {
                bail!(
                    "{}:{}: its actual value is not that of {}",
                    file.display(),
                    row + 2,
                    history.display()
                );
            }
        }
        let issue = |(day, values): (usize, &[f64])| Issue {
            hour: (first + 24 * day) as u64,
            values: values.to_vec(),
        };
        let issues = forecast.chunks(LEADS).enumerate().map(issue).collect();
        regions.push(Region { name, values, renewable, issues });
    }
    Ok(regions)
}

/// `electricitymaps-YEAR/`: a file a zone, or `zones.csv` with a column a zone; life-cycle intensity.
pub(crate) fn electricitymaps(folder: &Path) -> Result<Vec<Region>> {
    let mut regions = Vec::new();
    let wide = folder.join("zones.csv");
    if wide.is_file() {
        let table = rows(&wide)?;
        let head = std::fs::read_to_string(&wide)?.lines().next().unwrap_or_default().to_string();
        for (index, name) in head.split(',').enumerate().skip(1) {
            let values = column(&wide, &table, index)?;
            regions.push(Region { name: name.into(), values, renewable: Vec::new(), issues: Vec::new() });
        }
    }
    for file in files(folder, "_hourly.csv")? {
        let table = rows(&file)?;
        let values = column(&file, &table, 5)?;
        let renewable = column(&file, &table, 7)?;
        regions.push(Region { name: stem(&file), values, renewable, issues: Vec::new() });
    }
    if regions.is_empty() {
        bail!("{} holds neither zones.csv nor *_hourly.csv", folder.display());
    }
    Ok(regions)
}

/// Whole hours from one `YYYY-MM-DD HH` or `MM/DD/YYYY HH` to another.
fn hours_between(from: &str, to: &str) -> Option<usize> {
    let hour = |text: &str| {
        let digits: Vec<i64> = text
            .split(|c: char| !c.is_ascii_digit())
            .filter(|part| !part.is_empty())
            .map_while(|part| part.parse().ok())
            .collect();
        let (year, month, day, hour) = match digits[..] {
            [month, day, year, hour, ..] if year > 31 => (year, month, day, hour),
            [year, month, day, hour, ..] => (year, month, day, hour),
            _ => return None,
        };
        // Days since 1970 of the proleptic Gregorian calendar, the year begun in March.
        let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
        Some(days * 24 + hour)
    };
    usize::try_from(hour(to)? - hour(from)?).ok()
}
