"""Makes the program that starts with a double click. ``python3 bootstrap.py package`` sets up, then runs this.

__main__     PyInstaller with ../build.spec, what it leaves to do, the archive, and a try of what came out
facts        names, versions, and what belongs in
components   every bundled component with its licence
"""
