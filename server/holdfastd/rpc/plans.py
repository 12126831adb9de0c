"""What an RPC that starts long work answers: the operation as it begins, or the plan that was asked for instead."""

from __future__ import annotations

from holdfast.v1 import operation_pb2

from ..engine.operations import Operation, OperationRegistry, OperationState
from .convert_operations import failure_of, operation_message, planned_message


def started_or_planned(
    operations: OperationRegistry, operation: Operation, *, planned: bool
) -> operation_pb2.Operation:
    """The operation's message. A plan is waited for, and its failure is the call's."""
    if not planned:
        return operation_message(operation)
    ended = operations.take(operation.id)
    if ended.state is not OperationState.SUCCEEDED:
        raise failure_of(ended)
    return planned_message(ended)
