"""Bars in JSON documents of vendors: each gives the same bars to every digit, with the right clock."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest


def _load(name: str) -> Any:
    """Import a module beside this one, once for all that ask for it."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


deliveries = _load("deliveries")
Delivery, check, MINUTES, CRYPTO, NEWEST_FIRST, NEW_YORK, STAMP, OTHER, when = (
    getattr(deliveries, name)
    for name in ["Delivery", "check", "MINUTES", "CRYPTO", "NEWEST_FIRST", "NEW_YORK", "STAMP", "OTHER", "when"]
)
epoch, prices, objects = (getattr(deliveries, name) for name in ["epoch", "prices", "objects"])


DELIVERIES = [
    Delivery(
        "Alpha Vantage JSON",
        json.dumps(
            {
                "Meta Data": {
                    "1. Information": "Intraday (1min)",
                    "2. Symbol": "AAPL",
                    "3. Last Refreshed": "2024-03-11 19:59:00",
                    "4. Interval": "1min",
                    "5. Output Size": "Full size",
                    "6. Time Zone": "US/Eastern",
                },
                "Time Series (1min)": {
                    when(b, STAMP): prices(b, "1. open,2. high,3. low,4. close,5. volume", 4) for b in NEWEST_FIRST
                },
            },
            indent=4,
        ),
        "alpha-vantage-json",
        zone="US/Eastern",
        file="query.json",
    ),
    Delivery(
        "Twelve Data JSON",
        json.dumps(
            {
                "meta": {
                    "symbol": "AAPL",
                    "interval": "1min",
                    "currency": "USD",
                    "exchange_timezone": NEW_YORK,
                    "exchange": "NASDAQ",
                    "mic_code": "XNGS",
                    "type": "Common Stock",
                },
                "values": [{"datetime": when(b, STAMP), **prices(b, "open,high,low,close,volume", 5)} for b in NEWEST_FIRST],
                "status": "ok",
            }
        ),
        "twelve-data-json",
        stamp="start",
        file="values.json",
    ),
    Delivery(
        "Massive (Polygon) JSON",
        json.dumps(
            {
                "ticker": "AAPL",
                "queryCount": 12,
                "resultsCount": 12,
                "adjusted": True,
                "results": objects(MINUTES, lambda b: epoch(b, 1000), "t o h l c v", vw=170.1, n=57),
                "status": "OK",
                "request_id": "x",
                "count": 12,
            }
        ),
        "polygon-json",
        zone="UTC",
        stamp="start",
        file="aggs.json",
    ),
    Delivery(
        "Alpaca JSON of several instruments",
        json.dumps(
            {
                "bars": {
                    "AAPL": objects(MINUTES, lambda b: when(b, "%Y-%m-%dT%H:%M:%SZ", "UTC"), "t o h l c v", n=57, vw=170.1),
                    "MSFT": objects(
                        [OTHER, *MINUTES[1:]], lambda b: when(b, "%Y-%m-%dT%H:%M:%SZ", "UTC"), "t o h l c v", n=5, vw=9.1
                    ),
                },
                "next_page_token": None,
            }
        ),
        "alpaca-json",
        zone="UTC",
        stamp="start",
        file="bars.json",
        options={"symbol": "AAPL"},
    ),
    Delivery(
        "Alpaca JSON of one instrument",
        json.dumps(
            {
                "bars": objects(MINUTES, lambda b: when(b, "%Y-%m-%dT%H:%M:%SZ", "UTC"), "t o h l c v", n=57, vw=170.1),
                "symbol": "AAPL",
                "next_page_token": None,
            }
        ),
        "alpaca-json",
        zone="UTC",
        stamp="start",
        file="bars.json",
    ),
    Delivery(
        "Binance klines JSON",
        json.dumps(
            [[epoch(b, 1000), *map(str, b[1:]), epoch(b, 1000) + 59_999, "1234.5", 77, "0.5", "6.25", "0"] for b in CRYPTO]
        ),
        "binance-klines",
        CRYPTO,
        zone="UTC",
        stamp="start",
        file="klines.json",
    ),
    Delivery(
        "JSON lines",
        "".join(
            json.dumps(row) + "\n"
            for row in objects(MINUTES, lambda b: when(b, "%Y-%m-%dT%H:%M:%S%z"), "ts open high low close volume")
        ),
        zone="UTC",
        file="bars.jsonl",
    ),
    Delivery(
        "Yahoo chart JSON",
        json.dumps(
            {
                "chart": {
                    "result": [
                        {
                            "meta": {"symbol": "AAPL", "exchangeTimezoneName": NEW_YORK, "gmtoffset": -18000},
                            "timestamp": [epoch(b) for b in MINUTES],
                            "indicators": {
                                "quote": [
                                    {
                                        key: [getattr(b, key) for b in MINUTES]
                                        for key in ("low", "volume", "open", "high", "close")
                                    }
                                ]
                            },
                        }
                    ],
                    "error": None,
                }
            }
        ),
        "yahoo-chart-json",
        zone="UTC",
        stamp="start",
        file="chart.json",
    ),
]


@pytest.mark.parametrize("delivery", DELIVERIES, ids=lambda delivery: delivery.name)
def test_bars_of_a_vendor_are_read_as_delivered(tmp_path, delivery):
    check(tmp_path, delivery)
