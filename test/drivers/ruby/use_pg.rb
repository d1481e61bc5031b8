# Serves lanes with pg, a thread with a connection each: see ../program.ts for requests and replies.

require 'bigdecimal'
require 'json'
require 'pg'
require 'time'

TWICE = 'SELECT pg_backend_pid() AS pid, $1::int * 2 AS twice'.freeze

class Lane
  def open(target:, **)
    @db = PG.connect(host: target[:host], port: target[:port], user: target[:user],
                     password: target[:password], dbname: target[:database])
    @db.type_map_for_results = PG::BasicTypeMapForResults.new(@db)
    @db.type_map_for_queries = PG::BasicTypeMapForQueries.new(@db)
    @names = {}
    nil
  end

  def close
    @db.close
    nil
  end

  # Runs a statement with values under a name, which is prepared when it is new.
  def sql(text:, values:)
    return @db.exec(text).to_a if values.empty?

    unless @names.key?(text)
      @db.prepare("s#{@names.size}", text)
      @names[text] = "s#{@names.size}"
    end
    @db.exec_prepared(@names[text], values).to_a
  end

  def twice(n:)
    sql(text: TWICE, values: [n])
  end

  def begin
    @db.exec('BEGIN')
    nil
  end

  def commit
    @db.exec('COMMIT')
    nil
  end

  def rollback
    @db.exec('ROLLBACK')
    nil
  end

  def cancel(text:)
    @db.exec(text).to_a
  end

  def now
    @db.cancel
  end

  def store(sample:)
    values = [sample[:id], Integer(sample[:big]), BigDecimal(sample[:num]), sample[:body], Time.iso8601(sample[:at]),
              JSON.generate(sample[:doc]), "{#{sample[:list].join(',')}}", sample[:nothing]]
    @db.exec_params('INSERT INTO samples VALUES ($1, $2, $3, $4, $5, $6, $7, $8)', values)
    row = @db.exec_params('SELECT * FROM samples WHERE id = $1', [sample[:id]])[0]
    { **row, 'big' => row['big'].to_s, 'num' => row['num'].to_s('F'), 'at' => row['at'].utc.iso8601(6) }
  end

  # Inserts all ids in one go, then some with one among them that is there already.
  def pipeline(ids:)
    insert = 'INSERT INTO samples (id) VALUES ($1) RETURNING id'
    @db.prepare('insert', insert)
    @db.enter_pipeline_mode
    inserted = run_pipeline(ids).map { |result| result.getvalue(0, 0) }
    states = run_pipeline([-1, ids[0], -2]).map do |result|
      result.result_status == PG::PGRES_PIPELINE_ABORTED ? 'aborted' : result.error_field(PG::PG_DIAG_SQLSTATE)
    end
    after = run_pipeline([ids.size]).map { |result| result.getvalue(0, 0) }
    @db.exit_pipeline_mode
    @db.exec('DEALLOCATE insert')
    { inserted: inserted, states: states, after: after }
  end

  # Adds numbers up while their rows come in.
  def single_rows(rows:)
    @db.send_query_params('SELECT i FROM generate_series(1, $1::int) AS i', [rows])
    @db.set_single_row_mode
    sum = 0
    @db.get_result.stream_each { |row| sum += row['i'] }
    sum
  end

  def copy(rows:)
    lines = Array.new(rows) { |i| "#{i}\t#{'ä' * (i % 50)}\n" }
    copied = @db.copy_data('COPY samples (id, body) FROM STDIN') { lines.each { |line| @db.put_copy_data(line) } }
    out = []
    @db.copy_data('COPY (SELECT id, body FROM samples ORDER BY id) TO STDOUT') do
      while (line = @db.get_copy_data)
        out << line.force_encoding('UTF-8')
      end
    end
    [copied.cmd_tuples, out == lines]
  end

  # A COPY that the block breaks off, by CopyFail, and one that the server ends.
  def broken_copy
    states = []
    begin
      @db.copy_data('COPY samples (id) FROM STDIN') do
        @db.put_copy_data("1\n")
        raise ArgumentError, 'that will do'
      end
    rescue ArgumentError => e
      states << e.message
    end
    begin
      @db.copy_data('COPY samples (id) FROM STDIN') { @db.put_copy_data("no number\n") }
    rescue PG::Error => e
      states << state_of(e)
    end
    states
  end

  # A large object, which is written and read by function calls of the protocol.
  def large_object(length:)
    bytes = "\0\xff\xc3\xa4".b * (length / 4)
    id = @db.transaction do
      created = @db.lo_creat
      object = @db.lo_open(created, PG::INV_WRITE)
      @db.lo_write(object, bytes)
      @db.lo_close(object)
      created
    end
    @db.transaction do
      object = @db.lo_open(id, PG::INV_READ)
      read = @db.lo_read(object, length + 1)
      @db.lo_close(object)
      @db.lo_unlink(id)
      [read.bytesize, read == bytes]
    end
  end

  private

  # Results of the statement `insert` with each of the ids, up to the Sync.
  def run_pipeline(ids)
    ids.each { |id| @db.send_query_prepared('insert', [id]) }
    @db.pipeline_sync
    results = []
    until results.last&.result_status == PG::PGRES_PIPELINE_SYNC
      result = @db.get_result
      results << result if result
    end
    results[..-2]
  end
end

def state_of(error)
  error.is_a?(PG::Error) ? error.result&.error_field(PG::PG_DIAG_SQLSTATE) : nil
end

$stdin.set_encoding('UTF-8')
$stdout.set_encoding('UTF-8')
OUTPUT = Mutex.new
lanes = Hash.new { |all, number| all[number] = [Lane.new, nil] }

def work(number, lane, requests)
  while (op, rest = requests.pop)
    begin
      reply = { value: lane.public_send(op, **rest) }
    rescue StandardError => e
      reply = { error: { state: state_of(e), message: "#{e.class}: #{e.message}" } }
    end
    line = JSON.generate({ lane: number, **reply })
    OUTPUT.synchronize do
      $stdout.puts(line)
      $stdout.flush
    end
  end
end

$stdin.each_line do |line|
  request = JSON.parse(line, symbolize_names: true)
  number = request.delete(:lane)
  op = request.delete(:op)
  # What stands in a document keeps its names.
  request[:sample][:doc] = JSON.parse(line)['sample']['doc'] if request[:sample]
  lane, requests = lanes[number]
  if op == 'now'
    lane.now
  else
    if requests.nil?
      requests = lanes[number][1] = Queue.new
      Thread.new { work(number, lane, requests) }
    end
    requests << [op, request]
  end
end
