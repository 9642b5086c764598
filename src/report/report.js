document.querySelectorAll('table.sortable').forEach(function (table) {
  var body = table.tBodies[0];
  table.querySelectorAll('thead th:not(.spark)').forEach(function (head) {
    var button = document.createElement('button');
    button.append.apply(button, head.childNodes);
    head.append(button);
    button.addEventListener('click', function () {
      var at = head.cellIndex, up = head.getAttribute('aria-sort') === 'descending';
      var key = function (row) {
        var data = row.cells[at].querySelector('data');
        return data ? (data.value === '' ? -Infinity : Number(data.value)) : row.cells[at].textContent;
      };
      table.querySelectorAll('[aria-sort]').forEach(function (other) { other.removeAttribute('aria-sort'); });
      head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
      Array.from(body.rows).map(function (row) { return [key(row), row]; }).sort(function (a, b) {
        return (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0) * (up ? 1 : -1);
      }).forEach(function (pair) { body.append(pair[1]); });
    });
  });
});
document.querySelectorAll('.long').forEach(function (list) {
  list.classList.add('cut');
  var more = document.createElement('button');
  more.className = 'more';
  more.textContent = 'Show all ' + (list.tBodies ? list.tBodies[0].rows.length + ' rows' : list.children.length);
  more.addEventListener('click', function () { list.classList.remove('cut'); more.remove(); });
  list.after(more);
});
var open = function () {
  var query = location.hash && document.getElementById(location.hash.slice(1));
  if (query && query.tagName === 'DETAILS') { query.open = true; query.scrollIntoView(); }
};
addEventListener('hashchange', open);
addEventListener('beforeprint', function () {
  document.querySelectorAll('.cut').forEach(function (list) { list.classList.remove('cut'); });
});
open();
