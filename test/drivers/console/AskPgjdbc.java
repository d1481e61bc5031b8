import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Properties;

/** Asks the console with PgJDBC: statements kept from their first use on, binary results, a cursor, a failed transaction. */
public final class AskPgjdbc {
  public static void main(String[] args) throws Exception {
    Properties properties = new Properties();
    properties.setProperty("user", args[1]);
    properties.setProperty("prepareThreshold", "1");
    properties.setProperty("ApplicationName", "ask");
    try (Connection connection = DriverManager.getConnection(args[0], properties)) {
      int clients = -1;
      try (PreparedStatement lists = connection.prepareStatement("SHOW LISTS")) {
        for (int round = 0; round < 6; round++) {
          try (ResultSet rows = lists.executeQuery()) {
            while (rows.next()) {
              if (rows.getString(1).equals("used_clients")) clients = rows.getInt(2);
            }
          }
        }
      }
      boolean isValid = connection.isValid(5);
      int isolation = connection.getTransactionIsolation();
      connection.setAutoCommit(false);
      StringBuilder keys = new StringBuilder();
      try (Statement statement = connection.createStatement()) {
        statement.setFetchSize(2);
        try (ResultSet rows = statement.executeQuery("SHOW STATE")) {
          while (rows.next()) keys.append(rows.getString("key")).append(' ');
        }
      }
      String state = "none";
      try (Statement statement = connection.createStatement()) {
        statement.execute("SHOW nothing");
      } catch (SQLException error) {
        state = error.getSQLState();
      }
      connection.rollback();
      connection.setAutoCommit(true);
      String version;
      try (Statement statement = connection.createStatement()) {
        statement.execute("RELOAD");
        try (ResultSet rows = statement.executeQuery("SHOW TOTALS")) {
          rows.next();
          rows.getBigDecimal("value").toBigIntegerExact();
        }
        try (ResultSet rows = statement.executeQuery("SHOW VERSION")) {
          rows.next();
          version = rows.getString(1);
        }
      }
      System.out.printf(
          "{\"clients\": %d, \"isValid\": %b, \"isolation\": %d, \"keys\": \"%s\", \"state\": \"%s\", \"version\": \"%s\"}%n",
          clients, isValid, isolation, keys.toString().trim(), state, version);
    }
  }
}
