-- For wrk: sends one request after the other, each with the next credential of a file, and tells what came of it.
-- Arguments: method, path, then a header's name, what stands before the credential, and the file with one a line.
-- Without the last three the same request is sent again and again.
local requests, at = {}, 0

function init(args)
  local method, path, name, before, file = args[1], args[2], args[3], args[4], args[5]
  if file then
    for credential in io.lines(file) do
      requests[#requests + 1] = wrk.format(method, path, { [name] = before .. credential })
    end
  else
    requests[1] = wrk.format(method, path)
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency)
  local errors = summary.errors
  print(string.format('told %d %d %d %d %d', summary.requests, summary.duration,
    errors.connect + errors.read + errors.write + errors.timeout + errors.status,
    latency:percentile(50), latency:percentile(99)))
end
