"""``db.collections.aliases``: second names of collections, switched atomically."""

from __future__ import annotations

from holdfast.connection import Connection, request_id_of
from holdfast.documents import Document, Documents


class Aliases:
    """Aliases of a store. A reader that uses one never sees it missing while it is switched."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, alias: str, collection: str, *, request_id: str | None = None) -> Document:
        """Make an alias. AlreadyExists if the name is taken by an alias or a collection."""
        from holdfast.v1 import collection_pb2

        request = collection_pb2.CreateAliasRequest(
            alias=alias, collection=collection, request_id=request_id_of(request_id)
        )
        made = self._connection.call(self._connection.collections.CreateAlias, request).alias
        return Document(alias=made.alias, collection=made.collection, status="created")

    def switch(
        self, alias: str, collection: str, *, validate_only: bool = False, request_id: str | None = None
    ) -> Document:
        """Point an existing alias at another collection. NotFound if either does not exist."""
        from holdfast.v1 import collection_pb2

        request = collection_pb2.SwitchAliasRequest(
            alias=alias,
            collection=collection,
            validate_only=validate_only,
            request_id=request_id_of(request_id),
        )
        response = self._connection.call(self._connection.collections.SwitchAlias, request)
        return Document(
            alias=response.alias,
            old_collection=response.old_collection,
            new_collection=response.new_collection,
            status="validated" if validate_only else "switched",
        )

    def delete(self, alias: str, *, validate_only: bool = False, request_id: str | None = None) -> Document:
        """Remove an alias; its collection stays."""
        from holdfast.v1 import collection_pb2

        request = collection_pb2.DeleteAliasRequest(
            alias=alias, validate_only=validate_only, request_id=request_id_of(request_id)
        )
        gone = self._connection.call(self._connection.collections.DeleteAlias, request).alias
        status = "validated" if validate_only else "deleted"
        return Document(alias=gone.alias, status=status, collection=gone.collection)

    def list(self, collection: str | None = None) -> Documents:
        """All aliases by name, or those of one collection."""
        from holdfast.v1 import collection_pb2

        found: Documents = []
        token = ""
        while True:
            request = collection_pb2.ListAliasesRequest(page_size=1000, page_token=token, collection=collection or "")
            page = self._connection.call(self._connection.collections.ListAliases, request)
            found += [Document(alias=entry.alias, collection=entry.collection) for entry in page.aliases]
            token = page.next_page_token
            if not token:
                return found
