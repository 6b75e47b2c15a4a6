"""Writes the same sales three times as Confluent's own serializers write them: Avro, Protobuf and JSON Schema.

produce.py BROKERS REGISTRY_URL USER:PASSWORD TOPIC_PREFIX COUNT
"""

import json
import sys
from decimal import Decimal

from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

AVRO = json.dumps({
    "type": "record",
    "name": "shop.Sale",
    "fields": [
        {"name": "type", "type": {"type": "enum", "name": "Kind", "symbols": ["sale", "refund"]}},
        {"name": "item", "type": "string"},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "timestamp", "type": "long"},
        {"name": "note", "type": ["null", "string"], "default": None},
    ],
})
JSON_SCHEMA = json.dumps({
    "$schema": "http://json-schema.org/draft-07/schema#",
    "title": "Sale",
    "type": "object",
    "properties": {"type": {"type": "string"}, "item": {"type": "string"}, "price": {"type": "number"}},
})


def protobuf_sale():
    """A message type made here, so that no compiler of .proto files is needed; it is the second one in its file."""
    text, double, int64 = (getattr(descriptor_pb2.FieldDescriptorProto, f"TYPE_{kind}") for kind in ("STRING", "DOUBLE", "INT64"))
    file = descriptor_pb2.FileDescriptorProto(name="sale.proto", package="shop", syntax="proto3")
    file.message_type.add(name="Other")
    message = file.message_type.add(name="Sale")
    for number, (name, kind) in enumerate([("type", text), ("item", text), ("price", double), ("timestamp", int64)], 1):
        message.field.add(name=name, number=number, type=kind, label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Sale"))


def main():
    brokers, url, user, prefix, count = sys.argv[1:]
    registry = SchemaRegistryClient({"url": url, "basic.auth.user.info": user})
    producer = Producer({"bootstrap.servers": brokers})
    sale = protobuf_sale()
    writers = {
        "avro": (AvroSerializer(registry, AVRO), lambda fields: {**fields, "price": Decimal(fields["price"])}),
        "protobuf": (ProtobufSerializer(sale, registry, {"use.deprecated.format": False}),
                     lambda fields: sale(**{**fields, "price": float(fields["price"])})),
        "json": (JSONSerializer(JSON_SCHEMA, registry), lambda fields: {**fields, "price": float(fields["price"])}),
    }
    for name, (serialize, shaped) in writers.items():
        topic = f"{prefix}{name}"
        for number in range(int(count)):
            fields = {"type": "sale", "item": f"i{number % 3}", "price": f"{number * 7 % 100}.50", "timestamp": number}
            value = serialize(shaped(fields), SerializationContext(topic, MessageField.VALUE))
            assert value[0] == 0, value
            producer.produce(topic, key=fields["item"], value=value)
        # An id that the registry has never given.
        producer.produce(topic, key="lost", value=b"\0\x7f\xff\xff\xff{}")
    assert producer.flush(60) == 0, "not all was sent"


main()
