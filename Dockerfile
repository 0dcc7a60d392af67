# The service with everything it needs; weights go to /models (mount a volume there to keep them).
FROM python:3.12-slim AS build
WORKDIR /src
COPY . .
RUN python -m venv /opt/voice-agent \
 && /opt/voice-agent/bin/pip install --no-cache-dir --constraint constraints.txt .

FROM python:3.12-slim
COPY --from=build /opt/voice-agent /opt/voice-agent
RUN useradd --create-home agent && mkdir /models && chown agent /models
USER agent
ENV PATH=/opt/voice-agent/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    VOICE_AGENT__MODELS__DIR=/models \
    VOICE_AGENT__SERVER__HOST=0.0.0.0
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s CMD \
    ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
# Beyond loopback an API key is required: docker run -e VOICE_AGENT__SERVER__API_KEY=… (media is UDP: --network host)
CMD ["voice-agent", "serve"]
