#include "apps/report/figure.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>

namespace caltrop {
namespace {

// Dark blue, vermilion, bluish green, orange, purple, sky blue: told apart by colour-blind readers (Okabe &
// Ito 2008).
constexpr const char* kColours[] = {"#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9"};

std::string data_of(const Figure& figure) {
  std::string data;
  for (const Series& series : figure.series) {
    data += fmt::format("# {}\n", series.title);
    for (size_t i = 0; i < series.x.size(); ++i)
      data += fmt::format("{:.9g} {:.9g}\n", series.x[i], series.y[i]);
    data += "\n\n";
  }
  return data;
}

// The axis ends a little beyond the data, not at the next power of ten.
std::string log_range(const Figure& figure) {
  double low = HUGE_VAL, high = 0;
  for (const Series& series : figure.series) {
    for (const double x : series.x) {
      if (x > 0) low = std::min(low, x);
      high = std::max(high, x);
    }
  }
  return low < high ? fmt::format("set xrange [{:.9g}:{:.9g}]\n", low / 1.5, high * 1.5) : "";
}

// From about a dozen on gnuplot's own ticks are whole.
bool few(const Figure& figure) {
  return std::all_of(figure.series.begin(), figure.series.end(), [](const Series& series) {
    return series.x.empty() || series.x.back() - series.x.front() <= 12;
  });
}

// What every figure begins with: where it goes, its titles, frame, grid and legend.
std::string opening_of(const std::string& stem, const std::string& title, const std::string& y_label) {
  return fmt::format(
      "# gnuplot {0}.gp draws {0}.png from {0}.dat\n"
      "set terminal pngcairo size 1200,750 font 'sans,15' noenhanced\n"
      "set output '{0}.png'\nset title {1} font ',18'\nset ylabel {2}\n"
      "set border 3 lc rgb '#555555'\nset tics nomirror\nset grid ytics lc rgb '#dddddd' lt 1\n"
      "set key outside below Left reverse samplen 2 height 1\n",
      stem, quoted(title), quoted(y_label));
}

std::string script_of(const Figure& figure, const std::string& stem) {
  const double scale = figure.percent ? 100 : 1;
  std::string script = opening_of(stem, figure.title, figure.y_label);
  script += fmt::format("set xlabel {}\nset yrange [{}:{}]\nset format y '{}'\n", quoted(figure.x_label),
                        scale * figure.y_low, scale * figure.y_high, figure.percent ? "%.0f %%" : "%g");
  if (figure.log_x) script += "set logscale x\nset format x '%g'\n" + log_range(figure);
  if (figure.whole_x && few(figure)) script += "set xtics 1\n";
  for (const Threshold& line : figure.thresholds) {
    script += fmt::format(
        "set arrow from graph 0, first {0} to graph 1, first {0} nohead dt 2 lc rgb '#888888'\n"
        "set label {1} at graph 0.01, first {0} offset 0,0.5 tc rgb '#666666' font ',12'\n",
        scale * line.y, quoted(line.text));
  }
  for (size_t i = 0; i < figure.series.size(); ++i) {
    script += fmt::format(
        "{} '{}.dat' index {} using 1:({}*$2) with linespoints lw 2.5 pt 7 ps 1.1 lc rgb '{}' title {}",
        i == 0 ? "plot" : ",\\\n    ", stem, i, scale, kColours[i % std::size(kColours)],
        quoted(figure.series[i].title));
  }
  return script + "\n";
}

// Runs `gnuplot script` inside `directory`; false where there is no gnuplot or it failed.
bool run_gnuplot(const std::filesystem::path& directory, const std::string& script) {
  const pid_t child = fork();
  if (child < 0) return false;
  if (child == 0) {
    const int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (nowhere < 0 || chdir(directory.c_str()) != 0) _exit(127);
    dup2(nowhere, STDIN_FILENO);
    dup2(nowhere, STDOUT_FILENO);
    dup2(nowhere, STDERR_FILENO);
    execlp("gnuplot", "gnuplot", script.c_str(), static_cast<char*>(nullptr));
    _exit(127);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return false;
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

bool draw_figure(const RunFolder& folder, const std::string& stem) {
  return run_gnuplot(folder.path(), stem + ".gp") && folder.has(stem + ".png");
}

std::string write_figure(const RunFolder& folder, const std::string& stem, const Figure& figure) {
  folder.write(stem + ".dat", data_of(figure));
  folder.write(stem + ".gp", script_of(figure, stem));
  return stem + (draw_figure(folder, stem) ? ".png" : ".gp");
}

std::string write_bar_figure(const RunFolder& folder, const std::string& stem, const BarFigure& figure) {
  std::string data, script = opening_of(stem, figure.title, figure.y_label);
  script +=
      "set yrange [0:108]\nset ytics 0,20,100\nset format y '%.0f %%'\n"
      "set style data histograms\nset style histogram clustered gap 1\nset style fill solid 0.9 noborder\n";
  int64_t group = 0;
  for (const auto& [name, bars] : figure.groups) {
    data += quoted(name);
    for (const double bar : bars) data += fmt::format(" {:.9g}", bar);
    data += "\n";
    // Above each bar its value: a bar of 0 would not be seen. gnuplot leaves one bar's width between groups.
    for (size_t i = 0; i < bars.size(); ++i) {
      if (std::isnan(bars[i])) continue;
      const auto n = static_cast<double>(bars.size());
      const double x = static_cast<double>(group) + (static_cast<double>(i) - (n - 1) / 2) / (n + 1);
      script += fmt::format(
          "set label '{0:.1f}' at {1:.4f},{2:.4f} center offset 0,0.6 font ',10' tc rgb '#444444'\n",
          100 * bars[i], x, 100 * bars[i]);
    }
    ++group;
  }
  for (size_t i = 0; i < figure.series.size(); ++i) {
    script +=
        fmt::format("{} '{}.dat' using (100*${}):xtic(1) lc rgb '{}' title {}", i == 0 ? "plot" : ",\\\n    ",
                    stem, i + 2, kColours[i % std::size(kColours)], quoted(figure.series[i]));
  }
  folder.write(stem + ".dat", data);
  folder.write(stem + ".gp", script + "\n");
  return stem + (draw_figure(folder, stem) ? ".png" : ".gp");
}

}  // namespace caltrop
