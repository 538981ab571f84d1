"""Where the API server is and how to sign in: kubeconfig or the account of the pod, read by kubernetes_asyncio."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml

from policies.serving.clock import Clock

REFRESH_S: Final = 60.0
"""How old a token may be before its file, its plugin or its provider is asked again."""

SERVICE_HOST: Final = "KUBERNETES_SERVICE_HOST"


class ConnectionSetupError(ValueError):
    """There is no usable way to the API server. The message says what was looked for."""


class Connection:
    """An HTTP session with the API server, always signed in. Made by `connect`."""

    def __init__(
        self, configuration: Any, reload: Callable[[], Awaitable[None]] | None, origin: str, clock: Clock
    ) -> None:
        self.origin = origin
        """Where the configuration came from, for people."""
        self._configuration = configuration
        self._reload = reload
        self._clock = clock
        self._loaded_s = clock.monotonic_s()
        self._lock = asyncio.Lock()
        self._certificate: tuple[Any, Any] = (configuration.cert_file, configuration.key_file)
        self._rest = self._open()

    @property
    def host(self) -> str:
        """`https://10.0.0.1:443`."""
        return str(self._configuration.host).rstrip("/")

    @property
    def session(self) -> aiohttp.ClientSession:
        """The session."""
        session: aiohttp.ClientSession = self._rest.pool_manager
        return session

    @property
    def options(self) -> dict[str, Any]:
        """What each request needs to be told besides: proxy and the name on the certificate."""
        said = {
            "proxy": self._configuration.proxy,
            "proxy_headers": self._configuration.proxy_headers,
            "server_hostname": self._configuration.tls_server_name,
        }
        return {key: value for key, value in said.items() if value}

    async def headers(self, *, anew: bool = False) -> dict[str, str]:
        """Who asks. `anew` when the API server did not believe it the last time."""
        if self._reload is not None and (anew or self._clock.monotonic_s() - self._loaded_s >= REFRESH_S):
            async with self._lock:
                if anew or self._clock.monotonic_s() - self._loaded_s >= REFRESH_S:
                    await self._reload()
                    self._loaded_s = self._clock.monotonic_s()
                    await self._renew_certificate()
        key = await self._configuration.get_api_key_with_prefix("BearerToken")
        return {"Authorization": str(key).strip()} if key else {}

    async def _renew_certificate(self) -> None:
        """A plugin may give a new client certificate; sessions keep the one they began with."""
        certificate = (self._configuration.cert_file, self._configuration.key_file)
        if certificate != self._certificate:
            self._certificate = certificate
            old, self._rest = self._rest, self._open()
            await old.close()

    def _open(self) -> Any:
        from kubernetes_asyncio.client.rest import RESTClientObject

        return RESTClientObject(self._configuration)

    async def close(self) -> None:
        """Close the session."""
        await self._rest.close()


async def connect(
    *, kubeconfig: str | Path | None, context: str | None, in_cluster: bool | None, clock: Clock
) -> Connection:
    """Sign in. Without any choice: `KUBECONFIG`, then `~/.kube/config`, then the account of the pod, as kubectl does.

    Raises `ConnectionSetupError`.
    """
    from kubernetes_asyncio.client import Configuration

    configuration = Configuration()
    # because: certificates of clusters often lack what RFC 5280 wants beyond a valid chain, and no Go client asks for it
    configuration.disable_strict_ssl_verification = True
    paths = str(kubeconfig) if kubeconfig is not None else _default_paths()
    if in_cluster or (in_cluster is None and not paths and SERVICE_HOST in os.environ):
        return _of_pod(configuration, clock)
    if not paths:
        raise ConnectionSetupError(
            "no way to the API server: there is no kubeconfig (--kubeconfig, KUBECONFIG, ~/.kube/config), and this is not"
            " a pod of a cluster"
        )
    return await _of_kubeconfig(configuration, paths, context, clock)


def _default_paths() -> str:
    named = os.environ.get("KUBECONFIG", "")
    home = Path("~/.kube/config").expanduser()
    return named or (str(home) if home.is_file() else "")


def _of_pod(configuration: Any, clock: Clock) -> Connection:
    from kubernetes_asyncio.config import ConfigException
    from kubernetes_asyncio.config.incluster_config import (
        SERVICE_CERT_FILENAME,
        SERVICE_TOKEN_FILENAME,
        InClusterConfigLoader,
    )

    try:
        InClusterConfigLoader(SERVICE_TOKEN_FILENAME, SERVICE_CERT_FILENAME).load_and_set(configuration)
    except (ConfigException, OSError) as error:
        raise ConnectionSetupError(f"no way to the API server with the account of the pod: {error}") from error
    # because: the loader has put in a hook that reads the token's file again when it is a minute old
    return Connection(configuration, None, "the account of the pod", clock)


async def _of_kubeconfig(configuration: Any, paths: str, context: str | None, clock: Clock) -> Connection:
    from kubernetes_asyncio.config import ConfigException
    from kubernetes_asyncio.config.kube_config import KubeConfigLoader, KubeConfigMerger

    known = [path for path in paths.split(os.pathsep) if path and Path(path).expanduser().is_file()]
    if not known:
        raise ConnectionSetupError(f"kubeconfig {paths}: no such file")
    try:
        merged = KubeConfigMerger(os.pathsep.join(known)).config
        loader = KubeConfigLoader(config_dict=merged, config_base_path=None, active_context=context)
        await loader.load_and_set(configuration)
        return Connection(configuration, lambda: loader.load_and_set(configuration), f"kubeconfig {paths}", clock)
    except (ConfigException, OSError, yaml.YAMLError) as error:
        raise ConnectionSetupError(f"kubeconfig {paths}: {error}") from error
    except Exception as error:
        # because: the loader asserts and indexes its way through a file that is no kubeconfig
        raise ConnectionSetupError(
            f"kubeconfig {paths}: cannot be used: {type(error).__name__}: {error}".rstrip(": ")
        ) from error
