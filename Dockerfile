# docker build -t hyperexec . && docker run --rm hyperexec leaderboard --quick --scenario regime-day
FROM python:3.11-slim
WORKDIR /opt/hyperexec
COPY . .
RUN pip install --no-cache-dir -c constraints.txt ".[all]" && useradd --create-home --uid 1000 trader
USER 1000
WORKDIR /home/trader
ENTRYPOINT ["hyperexec"]
CMD ["--help"]
