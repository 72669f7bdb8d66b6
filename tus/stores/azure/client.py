"""Requests to one container of Azure, over the connections that the store of S3 has."""

from __future__ import annotations

import base64
import hashlib

from ..s3.client import Blocks, S3Client
from ..s3.signing import Credentials
from .signing import Bearer, SharedKey


class AzureClient(S3Client):
    """`base`: the path in front of the container, if the endpoint has one."""

    def __init__(
        self, endpoint: str, container: str, signer: SharedKey | Bearer, *, base: str = "", ca: str | None = None
    ):
        super().__init__(endpoint, container, lambda: Credentials("", ""), ca=ca, signer=signer)
        self._base = f"{base}/{container}"

    def proof(self, method: str, body: Blocks) -> dict[str, str]:
        """The body is proved by its MD5: Azure checks no other digest that is at hand."""
        if not body.size:
            return {"": ""} | ({"content-length": "0"} if method in ("PUT", "POST") else {})
        hash = hashlib.md5(usedforsecurity=False)
        for block in body:
            hash.update(block)
        return {"": "", "content-length": str(body.size), "content-md5": base64.b64encode(hash.digest()).decode()}
