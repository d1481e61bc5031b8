import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.io.StringReader;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.sql.Array;
import java.sql.BatchUpdateException;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.sql.Types;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.postgresql.PGConnection;
import org.postgresql.util.PGobject;

/** PgJDBC with prepareThreshold=1: lanes are threads with a connection each. See ../program.ts for requests and replies. */
public final class UsePgjdbc {
  private static final Gson GSON = new GsonBuilder().serializeNulls().create();
  private static final PrintStream OUT = new PrintStream(System.out, false, StandardCharsets.UTF_8);

  private Connection connection;
  private PreparedStatement twice;
  private volatile Statement running;

  public static void main(String[] args) throws Exception {
    Map<Integer, UsePgjdbc> lanes = new HashMap<>();
    Map<Integer, ExecutorService> threads = new HashMap<>();
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      JsonObject request = JsonParser.parseString(line).getAsJsonObject();
      int number = request.get("lane").getAsInt();
      UsePgjdbc lane = lanes.computeIfAbsent(number, n -> new UsePgjdbc());
      if (request.get("op").getAsString().equals("now")) {
        lane.running.cancel();
        continue;
      }
      threads.computeIfAbsent(number, n -> Executors.newSingleThreadExecutor()).execute(() -> lane.answer(number, request));
    }
    System.exit(0);
  }

  private void answer(int number, JsonObject request) {
    Map<String, Object> reply = new LinkedHashMap<>();
    reply.put("lane", number);
    try {
      reply.put("value", perform(request));
    } catch (Exception error) {
      String state = error instanceof SQLException ? ((SQLException) error).getSQLState() : null;
      Map<String, Object> told = new HashMap<>();
      told.put("state", state);
      told.put("message", String.valueOf(error));
      reply.put("error", told);
    }
    synchronized (OUT) {
      OUT.println(GSON.toJson(reply));
      OUT.flush();
    }
  }

  private Object perform(JsonObject request) throws Exception {
    switch (request.get("op").getAsString()) {
      case "open":
        return open(request.getAsJsonObject("target"));
      case "close":
        connection.close();
        return null;
      case "begin":
        connection.setAutoCommit(false);
        return null;
      case "commit":
        connection.commit();
        connection.setAutoCommit(true);
        return null;
      case "rollback":
        connection.rollback();
        connection.setAutoCommit(true);
        return null;
      case "sql":
        return sql(request.get("text").getAsString(), request.getAsJsonArray("values"));
      case "twice":
        twice.setInt(1, request.get("n").getAsInt());
        return rows(twice.executeQuery());
      case "cancel":
        return cancel(request.get("text").getAsString());
      case "store":
        return store(request.getAsJsonObject("sample"));
      case "fetch":
        return fetch(request.get("rows").getAsInt(), request.get("size").getAsInt());
      case "batch":
        return batch(request.get("rows").getAsInt());
      case "savepoint":
        return savepoint();
      case "copy":
        return copy(request.get("rows").getAsInt());
      default:
        throw new IllegalArgumentException("no such op: " + request);
    }
  }

  private Object open(JsonObject target) throws SQLException {
    Properties properties = new Properties();
    properties.setProperty("user", target.get("user").getAsString());
    properties.setProperty("password", target.get("password").getAsString());
    properties.setProperty("prepareThreshold", "1");
    String where = target.get("host").getAsString() + ":" + target.get("port").getAsInt();
    connection = DriverManager.getConnection("jdbc:postgresql://" + where + "/" + target.get("database").getAsString(), properties);
    twice = connection.prepareStatement("SELECT pg_backend_pid() AS pid, ?::int * 2 AS twice");
    return null;
  }

  private List<Map<String, Object>> sql(String text, Iterable<JsonElement> values) throws SQLException {
    try (PreparedStatement statement = connection.prepareStatement(text.replaceAll("\\$\\d+", "?"))) {
      int n = 0;
      for (JsonElement value : values) {
        statement.setInt(++n, value.getAsInt());
      }
      return statement.execute() ? rows(statement.getResultSet()) : List.of();
    }
  }

  private static List<Map<String, Object>> rows(ResultSet result) throws SQLException {
    ResultSetMetaData columns = result.getMetaData();
    List<Map<String, Object>> rows = new ArrayList<>();
    while (result.next()) {
      Map<String, Object> row = new LinkedHashMap<>();
      for (int i = 1; i <= columns.getColumnCount(); i++) {
        row.put(columns.getColumnLabel(i), result.getObject(i));
      }
      rows.add(row);
    }
    return rows;
  }

  private Object cancel(String text) throws SQLException {
    try (Statement statement = connection.createStatement()) {
      running = statement;
      return statement.execute(text);
    }
  }

  private Object store(JsonObject sample) throws SQLException {
    int id = sample.get("id").getAsInt();
    try (PreparedStatement insert = connection.prepareStatement("INSERT INTO samples VALUES (?, ?, ?, ?, ?, ?, ?, ?)")) {
      insert.setInt(1, id);
      insert.setLong(2, sample.get("big").getAsLong());
      insert.setBigDecimal(3, sample.get("num").getAsBigDecimal());
      insert.setString(4, sample.get("body").getAsString());
      insert.setObject(5, OffsetDateTime.parse(sample.get("at").getAsString()));
      PGobject document = new PGobject();
      document.setType("json");
      document.setValue(sample.get("doc").toString());
      insert.setObject(6, document);
      insert.setArray(7, connection.createArrayOf("int4", GSON.fromJson(sample.get("list"), Integer[].class)));
      insert.setNull(8, Types.VARCHAR);
      insert.executeUpdate();
    }
    try (PreparedStatement select = connection.prepareStatement("SELECT * FROM samples WHERE id = ?")) {
      select.setInt(1, id);
      ResultSet result = select.executeQuery();
      result.next();
      Map<String, Object> row = new HashMap<>();
      row.put("id", result.getInt("id"));
      row.put("big", String.valueOf(result.getLong("big")));
      row.put("num", result.getBigDecimal("num").toPlainString());
      row.put("body", result.getString("body"));
      row.put("at", result.getObject("at", OffsetDateTime.class).toString());
      row.put("doc", JsonParser.parseString(result.getString("doc")));
      Array list = result.getArray("list");
      row.put("list", list.getArray());
      row.put("nothing", result.getString("nothing"));
      return row;
    }
  }

  /** Sums numbers up from a portal that brings so many at a time, with other statements in between. */
  private Object fetch(int rows, int size) throws SQLException {
    connection.setAutoCommit(false);
    long total = 0;
    try (PreparedStatement statement = connection.prepareStatement("SELECT i FROM generate_series(1, ?) AS i")) {
      statement.setFetchSize(size);
      statement.setInt(1, rows);
      ResultSet result = statement.executeQuery();
      while (result.next()) {
        int i = result.getInt(1);
        total += i;
        if (i % size == 0) {
          twice.setInt(1, 0);
          total += (int) rows(twice.executeQuery()).get(0).get("twice");
        }
      }
    }
    connection.commit();
    connection.setAutoCommit(true);
    return total;
  }

  /** Binds one statement many times in one go, then does so with a wrong one among them. */
  private Object batch(int rows) throws SQLException {
    Map<String, Object> found = new LinkedHashMap<>();
    try (PreparedStatement insert = connection.prepareStatement("INSERT INTO samples (id, body) VALUES (?, ?)")) {
      connection.setAutoCommit(false);
      for (int i = 0; i < rows; i++) {
        insert.setInt(1, i);
        insert.setString(2, "ä".repeat(i));
        insert.addBatch();
      }
      found.put("counted", insert.executeBatch().length);
      connection.commit();
      for (int i : new int[] {rows, 0, rows + 1}) {
        insert.setInt(1, i);
        insert.setString(2, "");
        insert.addBatch();
      }
      try {
        insert.executeBatch();
      } catch (BatchUpdateException error) {
        found.put("state", error.getSQLState());
      }
      connection.rollback();
      connection.setAutoCommit(true);
    }
    return found;
  }

  /** A part of a transaction that is taken back alone. */
  private Object savepoint() throws SQLException {
    String state = null;
    connection.setAutoCommit(false);
    sql("INSERT INTO samples (id) VALUES (1)", List.of());
    Savepoint savepoint = connection.setSavepoint();
    try {
      sql("INSERT INTO samples (id) VALUES (1)", List.of());
    } catch (SQLException error) {
      state = error.getSQLState();
      connection.rollback(savepoint);
    }
    sql("INSERT INTO samples (id) VALUES (2)", List.of());
    connection.commit();
    connection.setAutoCommit(true);
    return state;
  }

  /** Copies rows in and out again. */
  private Object copy(int rows) throws Exception {
    StringBuilder text = new StringBuilder();
    for (int i = 0; i < rows; i++) {
      text.append(i).append('\t').append("ä".repeat(i % 50)).append('\n');
    }
    var copy = connection.unwrap(PGConnection.class).getCopyAPI();
    long copied = copy.copyIn("COPY samples (id, body) FROM STDIN", new StringReader(text.toString()));
    StringWriter out = new StringWriter();
    copy.copyOut("COPY (SELECT id, body FROM samples ORDER BY id) TO STDOUT", out);
    return List.of(copied, out.toString().contentEquals(text));
  }
}
