"""The feature contract between indicators, training and serving.

Everything here is hashed into `SCHEMA_HASH`; an artefact trained under another contract is
refused at start. This module imports nothing of ours.
"""

import hashlib

LOOKBACK = 128  # bars that TA-Lib sees for one row
WINDOW = 60  # rows that a model sees
HISTORY = LOOKBACK + WINDOW - 1  # bars that decide a model input

# Names in column order. Every feature is scale-free: free of price, of volume units and of
# the symbol's volatility. Returns are divided by the volatility of their span, distances by
# the average true range, oscillators are mapped to [-1, 1].
FEATURES: tuple[str, ...] = (
    # momentum: log return over k bars / (sigma_60 * sqrt(k))
    "roc_1",
    "roc_2",
    "roc_5",
    "roc_10",
    "roc_15",
    "roc_30",
    "roc_60",
    "momentum_10",  # MOM / ATR
    # oscillators
    "rsi_14",
    "rsi_5",
    "stochastic_k",
    "stochastic_d",
    "williams_r_14",
    "cci_20",
    "mfi_14",
    # trend
    "macd",
    "macd_signal",
    "macd_histogram",
    "adx_14",
    "directional_index",  # (+DI - -DI) / 100
    "ema_distance_8",
    "ema_distance_21",
    "ema_distance_55",
    "sma_distance_20",
    "sma_distance_60",
    "sma_distance_120",
    # bands and volatility
    "bollinger_position",  # (close - middle) / (2 sigma)
    "bollinger_width",  # log of band width over sigma_60's
    "natr_14",  # log of ATR(14) over the 60-bar volatility
    "realised_volatility_10",  # log ratio to sigma_60
    "realised_volatility_120",
    # volume
    "volume_zscore_60",
    "obv_slope_20",
    # the last bar
    "bar_position",  # where the close lies in the bar's range
    "vwap_distance",
    # quotes; zero where there are none
    "spread",  # spread / ATR
    "spread_ratio_20",  # log ratio to the mean spread of 20 bars
    "imbalance",
    "imbalance_mean_10",
    "has_quotes",
    # time and data quality
    "session_sin",
    "session_cos",
    "session_opened",  # exp(-bars since open / 15)
    "quiet_share_20",
)

CLIP = 8.0  # features are clipped to [-CLIP, CLIP]

SCHEMA_HASH = hashlib.sha256(repr((LOOKBACK, WINDOW, CLIP, FEATURES)).encode()).hexdigest()[:16]
