# A server in a container: docker build -t mcpcore .
# docker run --read-only -p 127.0.0.1:8000:8000 -v ./my_server.py:/srv/my_server.py:ro \
#     -e MCPCORE_SERVICE=my_server:server -e MCPCORE_ALLOW_HOST=localhost:8000 mcpcore
FROM python:3.13-slim AS build
COPY . /src
RUN python -m venv /opt/mcpcore \
    && /opt/mcpcore/bin/pip install --no-cache-dir "/src[cli,speed,auth,redis,metrics]"

FROM python:3.13-slim
COPY --from=build /opt/mcpcore /opt/mcpcore
ENV PATH=/opt/mcpcore/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HEALTH_URL=http://127.0.0.1:8000/mcp
# A file is the last to be asked: variables go before it, and another one can be mounted there.
RUN mkdir /etc/mcpcore && echo 'http = ["0.0.0.0:8000"]' > /etc/mcpcore/server.toml
WORKDIR /srv
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=10s \
    CMD mcpcore probe --health "$HEALTH_URL"
ENTRYPOINT ["mcpcore", "serve"]
CMD ["--config", "/etc/mcpcore/server.toml"]
