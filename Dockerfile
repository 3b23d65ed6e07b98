# Builds with any engine, and without a network where wheels/ holds what pip needs (`pip download`).
#   docker build -t weft .
#   docker run --rm weft dev --help
FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY weft weft
COPY registry registry
COPY sidecar sidecar
COPY ca ca
# Wheels that are beside the source are taken first; --build-arg PIP_NO_INDEX=1 takes nothing else.
COPY wheel[s] /wheels
ARG PIP_NO_INDEX=
RUN python -m venv /opt/weft \
 && /opt/weft/bin/python -m pip install --no-cache-dir --disable-pip-version-check \
      --find-links /wheels -c constraints.txt . \
 && find /opt/weft -name '*.pyc' -delete

FROM python:3.11-slim
COPY --from=build /opt/weft /opt/weft
# A user of its own; state, if any is wanted, goes to /var/lib/weft (mount a volume there).
RUN echo 'weft:x:64321:64321::/var/lib/weft:/usr/sbin/nologin' >> /etc/passwd \
 && echo 'weft:x:64321:' >> /etc/group \
 && install -d -o 64321 -g 64321 -m 0700 /var/lib/weft
ENV PATH=/opt/weft/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER 64321:64321
WORKDIR /var/lib/weft
VOLUME /var/lib/weft
# Ready, as the sidecar's admin port or the registry's API says it, is the orchestrator's to ask.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/weft/bin/weft"]
CMD ["--help"]
