"""Requests to one container of Azure, over the connections that the store of S3 has."""

from __future__ import annotations

import base64
import hashlib

from ..s3.client import Blocks, S3Client
from ..s3.gathered import Digest
from ..s3.signing import Credentials
from .signing import Bearer, SharedKey


def _md5() -> Digest:
    return hashlib.md5(usedforsecurity=False)


class AzureClient(S3Client):
    """`base`: the path in front of the container, if the endpoint has one."""

    def __init__(
        self, endpoint: str, container: str, signer: SharedKey | Bearer, *, base: str = "", ca: str | None = None
    ):
        super().__init__(endpoint, container, lambda: Credentials("", ""), ca=ca, signer=signer)
        self._base = f"{base}/{container}"
        self.hashes = _md5

    def proof(self, method: str, body: Blocks) -> dict[str, str]:
        """The body is proved by its MD5: Azure checks no other digest that is at hand."""
        if not body.size:
            return {"": ""} | ({"content-length": "0"} if method in ("PUT", "POST") else {})
        digest = base64.b64encode(body.digest(_md5)).decode()
        return {"": "", "content-length": str(body.size), "content-md5": digest}
