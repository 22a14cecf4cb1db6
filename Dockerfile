# syntax=docker/dockerfile:1

FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY .sqlx .sqlx
COPY migrations migrations
COPY openapi openapi
COPY docs docs
COPY examples examples
COPY crates crates
COPY src src
# The image runs beside a PostgreSQL of its own, so it needs none of its own and fetches none.
RUN cargo build --release --locked --no-default-features --features archives,oidc,otlp,parquet,xlsx --bin sparsity-planner

FROM debian:12.12-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates curl \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 planner
COPY --from=build /src/target/release/sparsity-planner /usr/local/bin/
USER planner
ENV SPARSITY_PLANNER_BIND=0.0.0.0:8080 \
    SPARSITY_PLANNER_LOG_FORMAT=json
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["curl", "--fail", "--silent", "--show-error", "http://127.0.0.1:8080/readyz"]
ENTRYPOINT ["sparsity-planner"]
CMD ["serve"]
