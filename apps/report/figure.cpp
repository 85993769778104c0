#include "apps/report/figure.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <memory>
#include <optional>
#include <regex>

#include "apps/core/run_folder.h"
#include "engine/error.h"

namespace caltrop {
namespace {

// Dark blue, vermilion, bluish green, orange, pink, sky blue (Okabe & Ito 2008), then violet and brown: told apart
// by colour-blind readers, the more so as each has a marker of its own. The page's style sheet has their like for
// the dark.
constexpr std::array<const char*, kMostSeries> kColours = {"#0072B2", "#D55E00", "#009E73", "#E69F00",
                                                           "#CC79A7", "#56B4E9", "#5B3A8E", "#7A5C2E"};
constexpr std::array<int, kMostSeries> kMarkers = {7, 5, 9, 13, 11, 15, 6, 4};  // gnuplot's point types
constexpr const char *kInk = "#000000", *kGrey = "#666666", *kGrid = "#dddddd", *kGround = "#c4c4c4";

// Where a figure goes: a file of a run folder, or a page, which sets the title itself.
struct Canvas {
  std::string stem;  // of the files; empty: a page
  bool page() const { return stem.empty(); }
  std::string data() const { return page() ? "$data" : "'" + stem + ".dat'"; }
};

std::string opening_of(const Figure& figure, const Canvas& canvas) {
  if (figure.series.size() > kMostSeries)
    fail("[figure] '{}': expected at most {} series, got {}", figure.title, kMostSeries,
         figure.series.size());
  // A page's letters are set for a phone. On a wider screen its style sheet makes them smaller, which never makes
  // them collide.
  std::string script =
      canvas.page()
          ? "set terminal svg size 480,330 font 'sans,15' noenhanced\nset tmargin 0.8\nset rmargin 2\n"
            "set xlabel offset 0,0.5\nset ylabel offset 1,0\n"
          : fmt::format(
                "# gnuplot {0}.gp draws {0}.png from {0}.dat\n"
                "set terminal pngcairo size 1200,750 font 'sans,15' noenhanced\n"
                "set output '{0}.png'\nset tmargin 4.5\nset title {1} font ',18' offset 0,1\n"
                "set label {2} at graph 0.5, graph 1 center offset 0,1 font ',12' tc rgb '{3}'\n",
                canvas.stem, quoted(figure.title), quoted(figure.note), kGrey);
  return script + fmt::format(
                      "set ylabel {}\nset border 3 lc rgb '{}'\nset tics nomirror scale 0.5\n"
                      "set grid ytics lc rgb '{}' lt 1\n"
                      "set key outside below Left reverse samplen {}{}\n",
                      quoted(figure.y_label), kGrey, kGrid, canvas.page() ? 1.5 : 2.0,
                      canvas.page() ? "" : " height 1");
}

// Where a bar stands: groups are 1 apart, with one bar's width between them.
double place_of(double group, size_t bar, size_t bars) {
  const auto n = static_cast<double>(bars);
  return group + (static_cast<double>(bar) - (n - 1) / 2) / (n + 1);
}

std::string data_of(const Figure& figure) {
  std::string data;
  const bool bars = !figure.groups.empty();
  for (size_t s = 0; s < figure.series.size(); ++s) {
    const Series& series = figure.series[s];
    data += bars
                ? fmt::format(
                      "# {}: place, value, its interval, as the paper prints it, place of the words, group\n",
                      series.title)
                : fmt::format("# {}: {}, {}, its interval\n", series.title, figure.x_label, figure.y_label);
    for (size_t i = 0; i < series.x.size(); ++i) {
      const Measured& y = series.y[i];
      const double x = bars ? place_of(series.x[i], s, figure.series.size()) : series.x[i];
      data += fmt::format("{:.{}g} {:.9g} {:.9g} {:.9g}", x, bars ? 6 : 9, y.value, y.low, y.high);
      if (bars) {
        // The words stand above the interval, and above a diamond that would cover them.
        const bool covered = y.printed > y.high - 0.03 && y.printed < y.high + 0.09;
        data += fmt::format(" {:.9g} {:.9g} {}", y.printed, covered ? y.printed + 0.015 : y.high,
                            quoted(figure.groups[i]));
      }
      data += '\n';
    }
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
  return low <= high ? fmt::format("set xrange [{:.9g}:{:.9g}]\n", low / 1.5, high * 1.5) : "";
}

// From about a dozen on gnuplot's own ticks are whole.
bool few(const Figure& figure) {
  return std::all_of(figure.series.begin(), figure.series.end(), [](const Series& series) {
    return series.x.empty() || series.x.back() - series.x.front() <= 12;
  });
}

std::string curves_of(const Figure& figure, const Canvas& canvas) {
  const double scale = figure.percent ? 100 : 1;
  std::string script =
      fmt::format("set xlabel {}\nset yrange [{}:{}]\nset format y '{}'\n", quoted(figure.x_label),
                  scale * figure.y_low, scale * figure.y_high, figure.percent ? "%.0f %%" : "%g");
  if (figure.log_x) script += "set logscale x\nset format x '%g'\n" + log_range(figure);
  if (figure.whole_x && few(figure))
    script += "set xtics 1\nset xrange [*:*] noextend\nset offsets 0.2, 0.2, 0, 0\n";
  for (const Threshold& line : figure.thresholds) {
    script += fmt::format(
        "set arrow from graph 0, first {0} to graph 1, first {0} nohead dt 2 lc rgb '{2}'\n"
        "set label {1} at graph 0.01, first {0} offset 0,0.5 tc rgb '{2}'{3}\n",
        scale * line.y, quoted(line.text), kGrey, canvas.page() ? "" : " font ',12'");
  }
  // Something must be plotted for the axes to be drawn.
  if (figure.series.empty()) return script + "plot [1:2] NaN notitle\n";
  for (size_t i = 0; i < figure.series.size(); ++i) {
    // Points of several series at one place are set apart a little, or their intervals would cover each other.
    const double apart = figure.joined || !figure.log_x ? 1 : std::pow(1.03, static_cast<double>(i));
    const Series& series = figure.series[i];
    if (series.ground) {
      script += fmt::format("{0} {1} index {2} using 1:({3}*$2) with lines lw {4} lc rgb '{5}' title {6}",
                            i == 0 ? "plot" : ",\\\n    ", canvas.data(), i, scale, canvas.page() ? 7 : 9,
                            kGround, quoted(series.title));
      continue;
    }
    script += fmt::format(
        "{0} {1} index {2} using ({9:.3g}*$1):({3}*$3):(0):({3}*($4-$3)) with vectors nohead lw 1.2 lc rgb "
        "'{4}' "
        "notitle,\\\n"
        "    {1} index {2} using ({9:.3g}*$1):({3}*$2) with {5} lw 2.2 pt {6} ps {7} lc rgb '{4}' title {8}",
        i == 0 ? "plot" : ",\\\n    ", canvas.data(), i, scale, kColours[i],
        figure.joined ? "linespoints" : "points", kMarkers[i], canvas.page() ? 0.6 : 1.1,
        quoted(series.title), apart);
  }
  return script + "\n";
}

std::string bars_of(const Figure& figure, const Canvas& canvas) {
  std::string script = fmt::format(
      "set yrange [0:109]\nset ytics 0,20,100\nset format y '%.0f %%'\nset xrange [-0.6:{}]\n"
      "set style fill solid 0.9 noborder\nset boxwidth {:.4f}\nset tics scale 0\nset xtics (",
      static_cast<double>(figure.groups.size()) - 0.4, 0.96 / static_cast<double>(figure.series.size() + 1));
  for (size_t g = 0; g < figure.groups.size(); ++g)
    script += fmt::format("{}{} {}", g == 0 ? "" : ", ", quoted(figure.groups[g]), g);
  script += ")\n";
  for (size_t i = 0; i < figure.series.size(); ++i)
    script += fmt::format("{} {} index {} using 1:(100*$2) with boxes lc rgb '{}' title {}",
                          i == 0 ? "plot" : ",\\\n    ", canvas.data(), i, kColours[i],
                          quoted(figure.series[i].title));
  script += fmt::format(
      ",\\\n    {0} using 1:(100*$3):(0):(100*($4-$3)) with vectors nohead lw 1.2 lc rgb '{1}' notitle"
      // The value above each bar: one of 0 would not be seen. On a page, whose letters are large on a phone, the
      // table below has the decimals.
      ",\\\n    {0} using 1:(100*$6):(sprintf('{2}', 100*$2)) with labels offset 0,0.6{3} tc rgb '{1}' "
      "notitle",
      canvas.data(), kInk, canvas.page() ? "%.0f" : "%.1f", canvas.page() ? "" : " font ',10'");
  const bool printed = std::ranges::any_of(figure.series, [](const Series& series) {
    return std::ranges::any_of(series.y, [](const Measured& bar) { return !std::isnan(bar.printed); });
  });
  if (printed)
    script += fmt::format(
        ",\\\n    {} using 1:(100*$5) with points pt 12 ps 1.6 lw 1.8 lc rgb '{}' title 'as the paper prints "
        "it'",
        canvas.data(), kInk);
  return script + "\n";
}

std::string script_of(const Figure& figure, const Canvas& canvas) {
  const std::string opening = opening_of(figure, canvas);  // first: it counts the series
  return opening + (figure.groups.empty() ? curves_of(figure, canvas) : bars_of(figure, canvas));
}

// What gnuplot prints when it is given `script` inside `directory`; nothing where there is none or it fails.
std::optional<std::string> gnuplot(const std::filesystem::path& directory, const std::string& script) {
  const auto temporary = [] {
    return std::unique_ptr<FILE, int (*)(FILE*)>(std::tmpfile(), std::fclose);
  };
  const auto in = temporary(), out = temporary();
  if (!in || !out || std::fwrite(script.data(), 1, script.size(), in.get()) != script.size())
    return std::nullopt;
  std::rewind(in.get());
  const pid_t child = fork();
  if (child < 0) return std::nullopt;
  if (child == 0) {
    const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (nowhere < 0 || chdir(directory.c_str()) != 0) _exit(127);
    dup2(fileno(in.get()), STDIN_FILENO);
    dup2(fileno(out.get()), STDOUT_FILENO);
    dup2(nowhere, STDERR_FILENO);
    execlp("gnuplot", "gnuplot", static_cast<char*>(nullptr));
    _exit(127);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return std::nullopt;
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return std::nullopt;
  std::string printed;
  std::array<char, 1 << 16> part;
  std::rewind(out.get());
  while (const size_t read = std::fread(part.data(), 1, part.size(), out.get()))
    printed.append(part.data(), read);
  return printed;
}

}  // namespace

Measured measured_share(int64_t part, int64_t whole) {
  if (whole <= 0) return NAN;
  return {static_cast<double>(part) / static_cast<double>(whole), wilson_interval(part, whole)};
}

Measured measured_share(double share, int64_t images) {
  if (images <= 0 || std::isnan(share)) return NAN;
  return {share, wilson_interval(std::llround(share * static_cast<double>(images)), images)};
}

void Series::add(double at, const Measured& measured) {
  x.push_back(at);
  y.push_back(measured);
}

void Figure::add_group(const std::string& name, const std::vector<Measured>& bars) {
  for (size_t s = 0; s < series.size(); ++s) series[s].add(static_cast<double>(groups.size()), bars.at(s));
  groups.push_back(name);
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

bool draw_figure(const RunFolder& folder, const std::string& stem) {
  return gnuplot(folder.path(), "load '" + stem + ".gp'\n") && folder.has(stem + ".png");
}

std::string write_figure(const RunFolder& folder, const std::string& stem, const Figure& figure) {
  folder.write(stem + ".dat", data_of(figure));
  const std::string also = fmt::format(
      "set terminal svg size 1200,750 font 'sans,15' noenhanced\nset output '{}.svg'\nreplot\n", stem);
  folder.write(stem + ".gp", script_of(figure, {stem}) + (figure.svg ? also : ""));
  return stem + (draw_figure(folder, stem) ? ".png" : ".gp");
}

std::string svg_figure(const std::string& id, const Figure& figure) {
  std::string svg =
      gnuplot("/", fmt::format("$data << EOD\n{}EOD\n{}", data_of(figure), script_of(figure, Canvas{})))
          .value_or("");
  // Of gnuplot's document the drawing alone: no prologue, no titles, which browsers show as tool tips, and no groups
  // that hold nothing, as half of them do.
  const size_t begin = svg.find("<g id=\"gnuplot_canvas\""), end = svg.rfind("</svg>");
  if (begin == std::string::npos || end == std::string::npos) return "";
  svg = svg.substr(begin, end - begin);
  svg = std::regex_replace(svg, std::regex("<title>[^<]*</title>|<g [^>]*>\\s*</g>\\s*"), "");
  svg = std::regex_replace(svg, std::regex("(\\sid=['\"])"), "$1" + id + "-");
  return std::regex_replace(svg, std::regex("xlink:href='#"), "href='#" + id + "-");
}

}  // namespace caltrop
