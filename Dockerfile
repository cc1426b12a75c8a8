# docker build -t hyperexec . && docker run --rm hyperexec leaderboard --quick --scenario regime-day
FROM python:3.11-slim
WORKDIR /opt/hyperexec
COPY . .
RUN pip install --no-cache-dir -c constraints.txt ".[all]" && useradd --create-home trader
USER trader
WORKDIR /home/trader
ENTRYPOINT ["hyperexec"]
CMD ["--help"]
