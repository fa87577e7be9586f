"""A contract as a JSON file beside the data it describes: ``contract.json`` of a run or of demonstrations."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import json_format

from episodes.contract import Contract, ContractError
from episodes.durable import write_durably
from transport import records_pb2 as pb


def save_contract(path: Path, contract: Contract) -> None:
    text = json_format.MessageToJson(contract.to_message(), preserving_proto_field_name=True)
    write_durably(path, text.encode() + b"\n")


def load_contract(path: Path) -> Contract:
    """Raises ContractError where the file is absent or holds no contract."""
    try:
        return Contract.from_message(json_format.Parse(path.read_text(), pb.Contract()))
    except FileNotFoundError:
        raise ContractError(f"{path} is absent") from None
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise ContractError(f"{path} holds no contract: {error}") from error
