"""Models: which endpoint answers under which alias, with what parameters, and how its key is found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    Tag,
    field_validator,
    model_validator,
)

from rowmill.spec.column import Items, StrictModel
from rowmill.spec.distribution import Distribution, ManualDistribution, UniformDistribution, chance
from rowmill.spec.name import model_alias_problem
from rowmill.spec.registry import PROVIDERS
from rowmill.spec.request_field import CommandWords, checked_headers, checked_query
from rowmill.spec.secret_reference import LITERAL_SECRET, is_secret_reference, resolve_secret, resolve_secrets_in

ANTHROPIC_URL = "https://api.anthropic.com/v1"
_OF_HTTP_PROVIDERS = ("api_key_command", "auth", "extra_headers", "query", "ca_file", "service_tier")
_RESERVED_BODY_FIELDS = frozenset({"messages", "model", "stream"})

if TYPE_CHECKING:
    ProviderName = Literal["openai", "anthropic", "simulated"]
else:
    ProviderName = str  # those of plug-ins, too

Share = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]
"""A part of a whole, 0 to 1."""
Seconds = Annotated[float, Field(strict=True, gt=0, le=7 * 86_400, allow_inf_nan=False)]
"""A duration of more than nothing and at most a week."""


def _branch(value: object) -> str:
    """Which of its forms a parameter has: a number, or the distribution it names or whose fields it has."""
    if isinstance(value, UniformDistribution | ManualDistribution):
        return value.distribution_type
    if not isinstance(value, dict):
        return "number"
    named = value.get("distribution_type")
    parameters = value.get("params")
    is_manual = isinstance(parameters, dict) and "values" in parameters
    return named if named in ("uniform", "manual") else "manual" if is_manual else "uniform"


def _within(low: float, high: float) -> AfterValidator:
    """Checks that all values of a distribution lie in these bounds; those of a number are its own field's."""

    def check(value: float | Distribution) -> object:
        for number in () if isinstance(value, float | int) else value.extremes():
            if not low <= number <= high:
                raise ValueError(f"{number:g} is out of bounds: all values must be from {low:g} to {high:g}.")
        return value

    return AfterValidator(check)


Temperature = Annotated[
    Annotated[float, Field(strict=True, ge=0, le=5, allow_inf_nan=False), Tag("number")]
    | Annotated[UniformDistribution, Tag("uniform")]
    | Annotated[ManualDistribution, Tag("manual")],
    Discriminator(_branch),
    _within(0, 5),
]
TopP = Annotated[
    Annotated[float, Field(strict=True, gt=0, le=1, allow_inf_nan=False), Tag("number")]
    | Annotated[UniformDistribution, Tag("uniform")]
    | Annotated[ManualDistribution, Tag("manual")],
    Discriminator(_branch),
    _within(1e-9, 1),
]


class InferenceParameters(StrictModel):
    """What is sent along with every request to the model."""

    temperature: Temperature | None = None
    """A number, or a distribution it is drawn from for each row."""
    top_p: TopP | None = None
    """The same."""
    max_tokens: Annotated[int, Field(strict=True, ge=1, le=100_000_000)] | None = None
    """How long an answer may be. Default: left to the server; 4096 for ``anthropic``."""
    dimensions: Annotated[int, Field(strict=True, ge=1, le=100_000)] | None = None
    """Embeddings only: how long the vectors shall be, for models that let one choose."""
    encoding_format: Literal["float", "base64"] | None = None
    """Embeddings only: how vectors travel; ``base64`` takes a quarter of the bytes."""
    extra_body: dict[str, JsonValue] = Field(default_factory=dict)
    """Further fields of the request body, sent as they are: ``seed``, ``stop``, what a server adds."""

    @field_validator("extra_body")
    @classmethod
    def _leaves_the_request_alone(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        reserved = sorted(_RESERVED_BODY_FIELDS & value.keys())
        if reserved:
            raise ValueError(f"'{reserved[0]}' is set by Rowmill and cannot be part of extra_body.")
        return value

    def request_parameters(self) -> dict[str, Any]:
        """The fields to add to every request's body; those not given are left to the server."""
        fixed = {name: value for name, value in self._given().items() if isinstance(value, float | int)}
        return fixed | self.extra_body

    def embedding_parameters(self) -> dict[str, Any]:
        """The fields to add to the body of a request for embeddings."""
        given = {"dimensions": self.dimensions, "encoding_format": self.encoding_format}
        return {name: value for name, value in given.items() if value is not None} | self.extra_body

    def drawn_parameters(self, seed: int, column: str, row_id: int) -> dict[str, float]:
        """The values of those that are distributions, for a row: a function of the four alone (V1)."""
        return {
            name: value.at(chance(seed, column, name, row_id))
            for name, value in self._given().items()
            if not isinstance(value, float | int) and name not in self.extra_body
        }

    @property
    def has_distributions(self) -> bool:
        """Whether any of them differs from row to row."""
        return any(not isinstance(value, float | int) for value in self._given().values())

    def fingerprint(self) -> dict[str, Any]:
        """The parameters as they are given, distributions included."""
        return {
            name: value if isinstance(value, float | int) else value.model_dump(mode="json")
            for name, value in self._given().items()
        } | self.extra_body

    def _given(self) -> dict[str, float | Distribution]:
        given = {"temperature": self.temperature, "top_p": self.top_p, "max_tokens": self.max_tokens}
        return {name: value for name, value in given.items() if value is not None}


class SimulationConfig(StrictModel):
    """How the in-process provider ``simulated`` behaves. Answers and failures follow from seed and prompt."""

    latency_ms: Annotated[float, Field(strict=True, ge=0, le=3_600_000, allow_inf_nan=False)] = 50.0
    """How long a request takes."""
    latency_jitter: Share = 0.0
    """Latency varies by this share around ``latency_ms``: 0.2 means ± 20 %."""
    rate_limited: Share = 0.0
    """Share of requests answered with 429."""
    transient: Share = 0.0
    """Share of requests answered with 503."""
    rejected: Share = 0.0
    """Share of prompts that are always refused with 400."""
    malformed: Share = 0.0
    """Share of answers that are not in the form that was asked for (JSON, code)."""
    retry_after_s: Annotated[float, Field(strict=True, ge=0, le=86_400, allow_inf_nan=False)] | None = None
    """What a 429 asks for. None: it does not say."""
    seed: Annotated[int, Field(strict=True)] = 0
    """Which requests fail follows from it, the prompt, the row and how often the row was tried; what answers say, from
    the prompt. It is the same in every process."""
    answer: str | None = None
    """The text of every answer, as it stands (no template). None: made up from the prompt."""
    output_tokens: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = 32
    """About how long a made-up answer is, and what the usage says."""

    @field_validator("answer")
    @classmethod
    def _is_plain_text(cls, value: str | None) -> str | None:
        if value is not None and ("{{" in value or "{%" in value):
            raise ValueError("The simulated answer is plain text: it is not rendered as a template.")
        return value

    @model_validator(mode="after")
    def _shares_fit_into_one(self) -> Self:
        total = self.rate_limited + self.transient + self.rejected
        if total > 1:
            raise ValueError(f"rate_limited, transient and rejected add up to {total:g}; at most 1 is possible.")
        return self


class ModelConfig(StrictModel):
    """A model under an alias: columns name the alias, requests go to the endpoint."""

    model_config = ConfigDict(hide_input_in_errors=True)

    alias: str
    """The name columns use."""
    provider: ProviderName = "openai"
    """``openai``: any OpenAI-compatible server; ``anthropic``: the Messages API (529, overloaded, counts as rate
    limited; no embeddings); ``simulated``: made up in this process; or that of a plug-in."""
    base_url: str | Items[str] | None = None
    """Up to and including ``/v1``, as ``http://127.0.0.1:8000/v1``; or a list, of
    [several servers](models.md#several-servers) (C6). Required for ``openai``; none for ``simulated``. Default:
    Anthropic's own for ``anthropic``."""
    model: str = Field(min_length=1, max_length=500)
    """The server's name of the model."""
    api_key: str | None = None
    """``"${ENV_NAME}"``; never the key itself. The variable is read when a run starts."""
    api_key_command: CommandWords | None = None
    """A command that prints a token, in the place of ``api_key``; see [below](models.md#tokens-that-end)."""
    auth: Literal["bearer", "x-api-key", "api-key"] | None = None
    """The header the key travels in: ``bearer``: ``Authorization: Bearer``; ``x-api-key``; ``api-key`` (Azure).
    Default: ``bearer``; ``x-api-key`` for ``anthropic``."""
    extra_headers: dict[str, str] = Field(default_factory=dict)
    """Headers to add to every request; secrets in them as ``${ENV_NAME}``."""
    query: dict[str, str] = Field(default_factory=dict)
    """What stands behind ``?`` in every address, as Azure's ``api-version``; secrets in it as ``${ENV_NAME}``."""
    ca_file: str | None = Field(default=None, min_length=1)
    """A PEM file of certificates to trust, of a gateway with one of its own. Default: those of the system."""
    max_parallel_requests: Annotated[int, Field(strict=True, ge=1, le=100_000)] = 4
    """Requests at once, of each server; the limit found to work may be lower, never higher. Aliases of one endpoint
    share the smallest (C1)."""
    ramp_up_s: Seconds | None = None
    """Grow from 1 request at once to the limit over this time, at the start of an invocation."""
    timeout_s: Seconds = 60.0
    """Of one request; then it counts as transient."""
    inference_parameters: InferenceParameters = Field(default_factory=InferenceParameters)
    """What is sent along with every request. What is not given is left to the server."""
    service_tier: str | None = Field(default=None, min_length=1, max_length=100)
    """Sent with every chat: ``flex``, ``priority``, … It changes price and pace, no values, so that nothing is made
    again for it."""
    response_format: Literal["none", "json_object", "json_schema", "strict_json_schema"] = "none"
    """What the server takes of this field, for columns that want JSON; ``strict_json_schema`` adds ``strict: true``.
    The schema stands in the prompt as well (``schema_in_prompt`` of the column)."""
    image_route: Literal["images", "chat"] = "images"
    """Where pictures are asked for: ``images``: ``/images/generations``; ``chat``: a chat whose answer has
    ``images``."""
    reuse_answers: bool = False
    """Keep the answers of chats, and the vectors of texts, and use them again for the very same request; see
    [below](models.md#answers-used-again)."""
    skip_health_check: bool = False
    """Do not try the model before a run; see [below](models.md#before-a-run)."""
    simulation: SimulationConfig | None = None
    """``simulated`` only: how it behaves. Default: all defaults."""
    input_usd_per_million_tokens: Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)] | None = None
    """Price of what is sent, for ``cost_usd``."""
    cached_input_usd_per_million_tokens: Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)] | None = None
    """Price of what is sent and was found in the server's cache, as its usage says. Default: that of other input."""
    cache_write_usd_per_million_tokens: Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)] | None = None
    """Price of what is sent and was written into the server's cache (``anthropic``). Default: that of other input."""
    output_usd_per_million_tokens: Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)] | None = None
    """Price of what is received, for ``cost_usd``."""

    @field_validator("alias")
    @classmethod
    def _alias_is_a_name(cls, value: str) -> str:
        problem = model_alias_problem(value)
        if problem:
            raise ValueError(problem)
        return value

    @field_validator("provider")
    @classmethod
    def _provider_is_known(cls, value: ProviderName) -> ProviderName:
        PROVIDERS.require(value)
        return value

    @field_validator("base_url")
    @classmethod
    def _urls_are_http(cls, value: str | Sequence[str] | None) -> str | Sequence[str] | None:
        if value is None:
            return None
        if not isinstance(value, str):
            if not value:
                raise ValueError("The list of servers is empty.")
            urls = [_http_url(url) for url in value]
            if len(set(map(_comparable, urls))) < len(urls):
                raise ValueError("A server is named twice.")
            return urls[0] if len(urls) == 1 else tuple(urls)
        return _http_url(value)

    @field_validator("api_key", mode="before")
    @classmethod
    def _key_is_a_reference(cls, value: object) -> object:
        if value is not None and not (isinstance(value, str) and is_secret_reference(value)):
            raise ValueError(LITERAL_SECRET)
        return value

    @field_validator("extra_headers")
    @classmethod
    def _headers_can_be_sent(cls, value: dict[str, str]) -> dict[str, str]:
        return checked_headers(value)

    @field_validator("query")
    @classmethod
    def _query_can_be_sent(cls, value: dict[str, str]) -> dict[str, str]:
        return checked_query(value)

    @model_validator(mode="after")
    def _fits_its_provider(self) -> Self:
        if self.provider == "openai" and self.base_url is None:
            raise ValueError("Provider 'openai' needs a base_url, like 'http://127.0.0.1:8000/v1'.")
        if self.provider != "simulated" and self.simulation is not None:
            raise ValueError(f"'simulation' belongs to provider 'simulated', not to '{self.provider}'.")
        if self.provider == "anthropic" and self.response_format != "none":
            raise ValueError("Provider 'anthropic' takes no response_format: leave it 'none', and the prompt says it.")
        if self.provider == "simulated" and self.base_url is not None:
            raise ValueError("Provider 'simulated' works in this process and takes no base_url.")
        self._reaches_its_endpoint_in_one_way()
        return self

    def _reaches_its_endpoint_in_one_way(self) -> None:
        of_http = {name: getattr(self, name) for name in _OF_HTTP_PROVIDERS}
        given = sorted(name for name, value in of_http.items() if value)
        if given and self.provider not in ("openai", "anthropic"):
            raise ValueError(f"'{given[0]}' has no meaning for provider '{self.provider}'.")
        if self.api_key is not None and self.api_key_command is not None:
            raise ValueError("A model has api_key or api_key_command, not both.")
        if self.api_key is None and self.api_key_command is None:
            if self.auth is not None:
                raise ValueError("'auth' says how a key travels, and there is none: give api_key or api_key_command.")
            return
        carrier = self.key_header()
        if any(name.lower() == carrier.lower() for name in self.extra_headers):
            raise ValueError(f"The header '{carrier}' carries the key already: leave it out of extra_headers.")

    def key_header(self) -> str:
        """The name of the header in which the key travels."""
        kind = self.auth or ("x-api-key" if self.provider == "anthropic" else "bearer")
        return "Authorization" if kind == "bearer" else kind

    def base_urls(self) -> tuple[str, ...]:
        """The URL of each server; none if the spec names none."""
        if self.base_url is None:
            return ()
        return (self.base_url,) if isinstance(self.base_url, str) else tuple(self.base_url)

    def comparable_urls(self) -> frozenset[tuple[str | None, int | None, str]]:
        """Its servers, whatever way they are spelled."""
        return frozenset(map(_comparable, self.base_urls()))

    def at(self, url: str) -> ModelConfig:
        """The same model at one of its servers alone."""
        return self.model_copy(update={"base_url": url})

    def effective_base_url(self) -> str | None:
        """``base_url``, or that of the provider if the spec names none. Of one server."""
        if self.base_url is None and self.provider == "anthropic":
            return ANTHROPIC_URL
        return next(iter(self.base_urls()), None)

    def resolved_api_key(self, environ: Mapping[str, str]) -> str | None:
        """The key itself, for the one place that sends it; None when the model needs none."""
        if self.api_key is None:
            return None
        return resolve_secret(self.api_key, environ, f"models.{self.alias}.api_key")

    def resolved_headers(self, environ: Mapping[str, str]) -> dict[str, str]:
        """``extra_headers`` with the secrets in them, for the one place that sends them."""
        return self._resolved("extra_headers", self.extra_headers, environ)

    def resolved_query(self, environ: Mapping[str, str]) -> dict[str, str]:
        """``query`` with the secrets in it, for the one place that sends it."""
        return self._resolved("query", self.query, environ)

    def require_secrets(self, environ: Mapping[str, str]) -> None:
        """Raises SpecError for the first variable that is named and not set."""
        self.resolved_api_key(environ)
        self.resolved_headers(environ)
        self.resolved_query(environ)

    def _resolved(self, field: str, texts: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
        place = f"models.{self.alias}.{field}"
        return {name: resolve_secrets_in(text, environ, f"{place}.{name}") for name, text in texts.items()}

    def simulated_behaviour(self) -> SimulationConfig:
        """``simulation``, or its defaults when the spec leaves it out."""
        return self.simulation if self.simulation is not None else SimulationConfig()

    def fingerprint(self) -> dict[str, Any]:
        """What of a model shapes values (V2): not its URL, key, limits, time-outs or prices."""
        shaping: dict[str, Any] = {
            "provider": self.provider,
            "model": self.model,
            "inference_parameters": self.inference_parameters.fingerprint(),
            **PROVIDERS.shaping(self.provider),
        }
        if self.provider == "simulated":
            behaviour = self.simulated_behaviour()
            shaping["simulation"] = behaviour.model_dump(mode="json", include={"seed", "answer", "output_tokens"})
            if behaviour.malformed:
                shaping["simulation"]["malformed"] = behaviour.malformed
        return shaping

    def embedding_fingerprint(self) -> dict[str, Any]:
        """What of a model shapes the vectors it makes (V2); not how they travel."""
        parameters = self.inference_parameters
        shaping: dict[str, Any] = {
            "provider": self.provider,
            "model": self.model,
            "parameters": parameters.extra_body,
            **PROVIDERS.shaping(self.provider),
        }
        return shaping if parameters.dimensions is None else {**shaping, "dimensions": parameters.dimensions}

    def cost_usd(
        self, input_tokens: int, output_tokens: int, cached_tokens: int = 0, cache_write_tokens: int = 0
    ) -> float | None:
        """What a request cost, or None when the spec names no price; the last two are parts of ``input_tokens``."""
        if self.input_usd_per_million_tokens is None and self.output_usd_per_million_tokens is None:
            return None
        input_price = self.input_usd_per_million_tokens or 0.0
        output_price = self.output_usd_per_million_tokens or 0.0
        total = input_tokens * input_price + output_tokens * output_price
        if cached_tokens and self.cached_input_usd_per_million_tokens is not None:
            total += cached_tokens * (self.cached_input_usd_per_million_tokens - input_price)
        if cache_write_tokens and self.cache_write_usd_per_million_tokens is not None:
            total += cache_write_tokens * (self.cache_write_usd_per_million_tokens - input_price)
        return max(total, 0.0) / 1_000_000


def _http_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise ValueError("The URL cannot be read; it looks like 'http://127.0.0.1:8000/v1'.") from None
    if parts.username is not None or parts.password is not None:
        raise ValueError("The URL carries a user name or password. Use api_key: '${MY_API_KEY}' instead.")
    if parts.scheme not in {"http", "https"}:
        raise ValueError("The URL must start with http:// or https://, like 'http://127.0.0.1:8000/v1'.")
    if not parts.hostname or port == 0 or any(c.isspace() or not c.isprintable() for c in value):
        raise ValueError("The URL has no usable host; it looks like 'http://127.0.0.1:8000/v1'.")
    if parts.query or parts.fragment:
        raise ValueError("The URL must end with its path: no '?' and no '#'. 'query' is for what follows '?'.")
    return value


def _comparable(url: str) -> tuple[str | None, int | None, str]:
    """What two spellings of one server share."""
    parts = urlsplit(url)
    return parts.hostname, parts.port or {"http": 80, "https": 443}[parts.scheme], parts.path.rstrip("/")
