"""A reader of PricingData of the tests' own, by google.protobuf: neither end's code."""

import base64
import json

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_TYPES = descriptor_pb2.FieldDescriptorProto
_BY_TYPE = {
    _TYPES.TYPE_STRING: {
        1: "id", 4: "currency", 5: "exchange", 13: "short_name", 18: "underlying_symbol",
        30: "from_currency", 31: "last_market",
    },
    _TYPES.TYPE_FLOAT: {
        2: "price", 8: "change_percent", 10: "day_high", 11: "day_low", 12: "change",
        15: "open_price", 16: "previous_close", 17: "strike_price", 23: "bid", 25: "ask",
    },
    _TYPES.TYPE_INT32: {6: "quote_type", 7: "market_hours"},
    _TYPES.TYPE_SINT64: {
        3: "time", 9: "day_volume", 14: "expire_date", 19: "open_interest", 20: "options_type",
        21: "mini_option", 22: "last_size", 24: "bid_size", 26: "ask_size", 27: "price_hint",
        28: "vol_24hr", 29: "vol_all_currencies",
    },
    _TYPES.TYPE_DOUBLE: {32: "circulating_supply", 33: "market_cap"},
}  # fmt: skip


def _pricing_data():
    file = descriptor_pb2.FileDescriptorProto(
        name="pricing_of_tests.proto", package="tests", syntax="proto3"
    )
    message = file.message_type.add(name="PricingData")
    for kind, fields in _BY_TYPE.items():
        for number, name in fields.items():
            message.field.add(name=name, number=number, type=kind, label=_TYPES.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tests.PricingData"))


PricingData = _pricing_data()


def decoded(message):
    """Read the bytes of a PricingData."""
    return PricingData.FromString(message)


def read_frame(text):
    """Read a frame of the streamer, with an envelope or without."""
    if text.startswith("{"):
        envelope = json.loads(text)
        assert envelope.keys() == {"type", "message"}
        assert envelope["type"] == "pricing"
        text = envelope["message"]
    return decoded(base64.b64decode(text, validate=True))


def as_fields(message):
    """Return what a PricingData has, by field name."""
    return {field.name: value for field, value in message.ListFields()}
