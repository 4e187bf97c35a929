-- What benchmarks/load/client.py asks, for wrk; the figures as one line of JSON.
-- Arguments: first number, "unique" or "repeated", model or "-", more headers or "-", file of topics.
local threads, number, topics = 0, 0, {}

function setup(thread)
  thread:set("id", threads)
  threads = threads + 1
end

function init(arguments)
  kind, model = arguments[2], arguments[3]
  number = tonumber(arguments[1]) + id * 1000000
  for line in io.lines(arguments[5]) do topics[#topics + 1] = line end
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  for name, value in string.gmatch(arguments[4], "([^:|]+): ([^|]+)") do wrk.headers[name] = value end
end

function request()
  local n = kind == "repeated" and number % 16 or number
  number = number + 1
  local pinned = model == "-" and "" or ',"model":"' .. model .. '"'
  return wrk.format(nil, nil, nil, string.format('{"messages":[{"role":"user","content":"%s, case %d."}]%s}',
    topics[n % #topics + 1], n, pinned))
end

function done(summary, latency)
  local errors = summary.errors
  local answers = summary.requests - errors.status
  io.write(string.format('{"answers": %d, "per_second": %f, "p50_ms": %f, "p99_ms": %f, "failed": %d}\n', answers,
    answers / summary.duration * 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    errors.connect + errors.read + errors.status + errors.timeout))
end
