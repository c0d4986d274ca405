"""Descent Lab: page configuration and navigation, nothing else. `make run` serves it through serve.py."""

import streamlit as st

st.set_page_config(page_title="Descent Lab", layout="wide", initial_sidebar_state="collapsed")
st.navigation(
    [
        st.Page("pages/1_Race.py", title="Race", default=True),
        st.Page("pages/2_Optimizers.py", title="Optimizers"),
        st.Page("pages/4_Moments.py", title="Moments"),
        st.Page("pages/3_Your_own.py", title="Your own"),
    ],
    position="top",
).run()
