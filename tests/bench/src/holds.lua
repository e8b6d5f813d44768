-- For wrk: asks for holds, each with the next body of a file, and tells what came of it. A refusal is an answer.
-- Arguments: path, file with one body a line.
local requests, at, wrong = {}, 0, 0
local threads = {}

function setup(thread)
  threads[#threads + 1] = thread
end

function init(args)
  bad = 0
  for body in io.lines(args[2]) do
    requests[#requests + 1] = wrk.format('POST', args[1], { ['content-type'] = 'application/json' }, body)
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function response(status)
  if status ~= 201 and status ~= 409 then
    bad = bad + 1
  end
end

function done(summary, latency)
  local errors = summary.errors
  for _, thread in ipairs(threads) do
    wrong = wrong + thread:get('bad')
  end
  print(string.format('told %d %d %d %d %d', summary.requests, summary.duration,
    errors.connect + errors.read + errors.write + errors.timeout + wrong,
    latency:percentile(50), latency:percentile(99)))
end
